package issuer

// This file tells access tokens from what else an issuer signs: RFC 9068 §4 for the
// products that follow it, and for the others what their tokens have in common.

import (
	"slices"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// kindOfToken tells what a signed token is for, from the typ of its header and its
// claims. Where the product has no way of its own to say so and doesn't follow RFC
// 9068, what gives other tokens away is looked for, and the rest is UnknownKind.
func (i *Issuer) kindOfToken(typ string, c Claims) revocation.TokenKind {
	typ = mediaType(typ)
	if kind := i.presetKind(typ, c); kind != revocation.UnknownKind {
		return kind
	}
	switch {
	case typ == "at+jwt":
		return revocation.AccessToken
	case typ != "" && typ != "jwt" && !slices.Contains(i.types, typ):
		// RFC 8725 §3.11: logout+jwt, secevent+jwt, dpop+jwt and whatever comes.
		return revocation.OtherToken
	case c.has("events"): // RFC 8417 §2.2; logout tokens that have no typ
		return revocation.OtherToken
	case c.has("at_hash"), c.has("c_hash"): // OpenID Connect Core 1.0 §3.3.2.11
		return revocation.IDToken
	case c.has("nonce") && !c.has("scope") && !c.has("scp"):
		return revocation.IDToken
	}
	return revocation.UnknownKind
}

// kindOfAnswer tells what a token is for from what its issuer answers about it: RFC
// 7662 §2.2, whose token_type is that of access tokens, or token_use (Hydra).
func (i *Issuer) kindOfAnswer(c Claims) revocation.TokenKind {
	if kind := i.presetKind("", c); kind != revocation.UnknownKind {
		return kind
	}
	for _, name := range []string{"token_use", "token_type"} {
		// There are those who have the names of RFC 7009 §4.1.2.2 in both.
		switch said := strings.ToLower(c.Text(name)); said {
		case "":
			continue
		case "refresh_token":
			return revocation.RefreshToken
		case "id_token":
			return revocation.IDToken
		default:
			return revocation.AccessToken
		}
	}
	return revocation.UnknownKind
}

func (i *Issuer) presetKind(typ string, c Claims) revocation.TokenKind {
	if i.preset.Kind == nil {
		return revocation.UnknownKind
	}
	return i.preset.Kind(typ, c)
}

// mediaType returns a typ in the form in which it is compared: RFC 7515 §4.1.9.
func mediaType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}
