package issuer

// This file makes proofs: of what an issuer signed, and of what it answered.

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// prove verifies a token of the issuer's, and asks about it where that can't be done.
func (i *Issuer) prove(ctx context.Context, p revocation.Presented, reader *token.Reader) (*revocation.Proof, error) {
	signed, err := i.keys.Verify(ctx, p.Token)
	switch {
	case err == nil:
		return i.proofOfToken(signed, p.Facts)
	case errors.Is(err, revocation.ErrForged):
		return nil, err
	case errors.Is(err, errUnknownKey) && i.mayBeNewer(p.Facts.IssuedAt):
		err = fmt.Errorf("%w: its key is not known, and may be newer than those that are", revocation.ErrIssuerUnavailable)
	}
	if i.introspector == nil {
		return nil, err
	}
	proof, askErr := i.ask(ctx, p, reader)
	switch {
	case errors.Is(askErr, errUnsupported):
		return nil, err
	case askErr != nil:
		return nil, fmt.Errorf("%w (and by its keys: %v)", askErr, err)
	}
	return proof, nil
}

// mayBeNewer reports whether the key of a token that says to be issued at a moment may
// have been published after the keys were fetched. They aren't fetched again at once,
// so that it can't be told for a while whether the key exists.
func (i *Issuer) mayBeNewer(issuedAt int64) bool {
	_, fetched, _ := i.keys.Status()
	return !fetched.IsZero() && issuedAt >= fetched.Unix() && issuedAt <= i.now().Add(i.leeway).Unix()
}

// proofOfToken makes the proof of a token with a right signature. The facts are read
// from the same token.
func (i *Issuer) proofOfToken(signed *Signed, facts *revocation.Facts) (*revocation.Proof, error) {
	claims, err := parseClaims(signed.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrUnproven, err)
	}
	if !slices.Contains(i.names, claims.Text("iss")) {
		return nil, fmt.Errorf("%w: iss is not the name of the issuer whose key signed it", revocation.ErrUnproven)
	}
	proof, err := i.proofOfClaims(claims, facts, signed.Type)
	if err != nil {
		return nil, err
	}
	// The proof lives as long as the token is cached, which its payload need not.
	key := Signed{key: signed.key}
	proof.Holds = func(now time.Time) bool { return key.Holds() && i.keys.watched(now) }
	return proof, nil
}

// proofOfClaims makes the proof of a JWT with these claims.
func (i *Issuer) proofOfClaims(claims Claims, facts *revocation.Facts, typ string) (*revocation.Proof, error) {
	proof, err := i.proof(claims, facts)
	if err != nil {
		return nil, err
	}
	proof.Owners = owners(claims, i.profile[revocation.RoleClient])
	proof.Kind = i.kindOfToken(typ, claims)
	proof.At = i.now()
	return proof, nil
}

// proofByAnswer makes the proof of a JWT that the issuer itself will verify, nil if it
// can't be read.
func (i *Issuer) proofByAnswer(p revocation.Presented) *revocation.Proof {
	header, err := readHeader(p.Token)
	if err != nil {
		return nil
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(strings.Split(p.Token, ".")[1])
	if err != nil {
		return nil
	}
	claims, err := parseClaims(payload)
	if err != nil || !slices.Contains(i.names, claims.Text("iss")) {
		return nil
	}
	proof, err := i.proofOfClaims(claims, p.Facts, header.Type)
	if err != nil {
		return nil
	}
	return proof
}

// ask asks the issuer about a token and makes the proof of its answer.
func (i *Issuer) ask(ctx context.Context, p revocation.Presented, reader *token.Reader) (*revocation.Proof, error) {
	answer, err := i.introspector.ask(ctx, p)
	if err != nil {
		return nil, err
	}
	if answer.again != nil {
		again := *answer.again
		again.Holds = answer.holds
		return &again, nil
	}
	// It would be looked up by other names than it is recorded under, and another
	// issuer's token would count as this one's.
	if iss := answer.claims.Text("iss"); iss != "" && !slices.Contains(i.names, iss) {
		return nil, fmt.Errorf("%w: the answer about it has an iss, %.200q, that is not a name of %s: if it is the same issuer, add an alias",
			revocation.ErrUnproven, iss, i.name)
	}
	facts := reader.ReadClaims(answer.raw, i.name)
	proof, err := i.proof(answer.claims, facts)
	if err != nil {
		return nil, err
	}
	// RFC 7662 §2.2 has one name for it, whatever the product's tokens call it.
	proof.Owners = owners(answer.claims, append(slices.Clone(i.profile[revocation.RoleClient]), "client_id"))
	proof.Kind = i.kindOfAnswer(answer.claims)
	proof.At, proof.Holds = answer.at, answer.holds
	proof.Introspected, proof.Facts = true, facts
	return proof, nil
}

// proof makes a proof of claims that the issuer vouches for, and of the facts that
// were read from the same claims.
func (i *Issuer) proof(claims Claims, facts *revocation.Facts) (*revocation.Proof, error) {
	expires, err := seconds(claims, "exp", math.Ceil)
	if err != nil {
		return nil, err
	}
	if claims.has("exp") && expires <= 0 {
		return nil, fmt.Errorf("%w: its exp is not a moment after 1970", revocation.ErrUnproven)
	}
	notBefore, err := seconds(claims, "nbf", math.Floor)
	if err != nil {
		return nil, err
	}
	issuedAt, err := seconds(claims, "iat", math.Floor)
	if err != nil {
		return nil, err
	}
	return &revocation.Proof{
		Issuer:           i.name,
		Claims:           i.preferred(facts.Claims, claims),
		Audience:         claims.texts(audience),
		IssuedAt:         issuedAt,
		NotBefore:        notBefore,
		Expires:          expires,
		Leeway:           i.leeway,
		MaxTokenLifetime: i.maxTokenLifetime,
	}, nil
}

// maxSeconds is where moments end: the year 9999. Any number may stand in a token, and
// what is later than that can't be calculated with.
const maxSeconds = 253402300799

// seconds reads a moment: RFC 7519 §2, NumericDate. Zero if there is none.
func seconds(claims Claims, name string, round func(float64) float64) (int64, error) {
	v, _, err := claims.number(name)
	if err != nil {
		return 0, fmt.Errorf("%w: its %s %w", revocation.ErrUnproven, name, err)
	}
	return int64(max(-maxSeconds, min(maxSeconds, round(v)))), nil
}

// preferred returns what records may select the token by. The facts have all that
// will be looked up, in the order of the token; what plays a role comes in the order
// of the issuer's preference, and before what else is there.
func (i *Issuer) preferred(found []revocation.Claim, claims Claims) []revocation.Claim {
	const others = math.MaxInt
	rank := func(c revocation.Claim) int {
		for n, name := range i.profile[c.Role] {
			if claims.Text(name) == c.Value {
				return n
			}
		}
		return others
	}
	sorted := slices.Clone(found)
	slices.SortStableFunc(sorted, func(a, b revocation.Claim) int {
		if a.Role != b.Role {
			return strings.Compare(string(a.Role), string(b.Role))
		}
		return rank(a) - rank(b)
	})
	return sorted
}

// audience is the claim of RFC 7519 §4.1.3.
const audience = "aud"

// owners returns the clients to which the claims say that the token was issued. The
// names are of the claims that do. An audience is taken for an owner only where the
// operator says so, and no other claim names one.
func owners(claims Claims, names []string) []string {
	var all []string
	add := func(owner string) {
		if owner != "" && !slices.Contains(all, owner) {
			all = append(all, owner)
		}
	}
	for _, name := range names {
		if name != audience {
			add(claims.Text(name))
		}
	}
	if len(all) == 0 && slices.Contains(names, audience) {
		for _, owner := range claims.texts(audience) {
			add(owner)
		}
	}
	return all
}
