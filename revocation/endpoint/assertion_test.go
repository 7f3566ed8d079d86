// C29 and C32 to C38 of the contract: clients that sign, private_key_jwt.

package endpoint

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var badClient, badRequest = refused(401, "invalid_client"), refused(400, "invalid_request")

func TestAssertions(t *testing.T) {
	s := signers()
	legacy := func(o *Options) { o.LegacyAssertions = true }
	typed := func(typ string) signer { return signer{s.es.alg, s.es.key, s.es.kid, typ} }
	id := func(id string) statement { return statement{"iss": id, "sub": id} }
	for _, c := range []struct {
		name   string
		change func(*Options)
		signer signer
		claims statement
		more   []string // parameters
		want   expect
	}{
		{"C32 ES256", nil, s.es, nil, nil, ok},
		{"C32 RS256", nil, s.rs, nil, nil, ok},
		{"C32 EdDSA", nil, s.ed, nil, nil, ok},
		{"C32 without kid", nil, signer{s.es.alg, s.es.key, "", ""}, nil, nil, ok},
		{"C32 with client_id in the body", nil, s.es, nil, []string{"client_id", signingID}, ok},
		{"C32 another audience", nil, s.es, statement{"aud": "urn:second"}, nil, ok},
		{"C32 with nbf and without iat", nil, s.es, statement{"nbf": 1, "iat": nil}, nil, ok},
		{"C32 with claims that mean nothing here", nil, s.es, statement{"name": []any{map[string]any{"x": 1}}}, nil, ok},
		{"C32 typ JWT", nil, typed("JWT"), nil, nil, ok},
		{"C32 typ in other words", nil, typed("application/Client-Authentication+JWT"), nil, nil, ok},
		{"C32 typ of an access token", nil, typed("at+jwt"), nil, nil, badClient},
		{"C32 an empty secret besides", nil, s.es, nil, []string{"client_secret", ""}, ok},

		{"C33 aud of somebody else", nil, s.es, statement{"aud": "https://other.example.com"}, nil, badClient},
		{"C33 no aud", nil, s.es, statement{"aud": nil}, nil, badClient},
		{"C33 empty aud", nil, s.es, statement{"aud": ""}, nil, badClient},
		{"C33 a slash more", nil, s.es, statement{"aud": audience + "/"}, nil, badClient},
		{"C33 aud as a list", nil, s.es, statement{"aud": []string{audience}}, nil, badClient},
		{"C33 URL of this endpoint", nil, s.es, statement{"aud": here}, nil, badClient},
		{"C33 aud of somebody else, legacy", legacy, s.es, statement{"aud": "https://other.example.com/oauth2/revoke"}, nil, badClient},
		{"C33 no aud, legacy", legacy, s.es, statement{"aud": nil}, nil, badClient},
		{"C33 empty list, legacy", legacy, s.es, statement{"aud": []string{}}, nil, badClient},
		{"C33 list of somebody else, legacy", legacy, s.es, statement{"aud": []string{"x", ""}}, nil, badClient},
		{"C33 list of other types, legacy", legacy, s.es, statement{"aud": []any{audience, 1}}, nil, badClient},
		{"C33 an object, legacy", legacy, s.es, statement{"aud": statement{}}, nil, badClient},
		{"C33 aud, legacy", legacy, s.es, nil, nil, ok},
		{"C33 aud as a list, legacy", legacy, s.es, statement{"aud": []string{"x", audience}}, nil, ok},
		{"C33 URL of this endpoint, legacy", legacy, s.es, statement{"aud": here}, nil, ok},
		{"C33 URL in a list, legacy", legacy, s.es, statement{"aud": []string{here, "x"}}, nil, ok},
		{"C33 URL with another scheme, legacy", legacy, s.es, statement{"aud": "http" + here[5:]}, nil, badClient},

		{"C34 no jti", nil, s.es, statement{"jti": nil}, nil, badClient},
		{"C34 empty jti", nil, s.es, statement{"jti": ""}, nil, badClient},
		{"C34 jti of another type", nil, s.es, statement{"jti": 1}, nil, badClient},
		{"C34 longest jti", nil, s.es, statement{"jti": strings.Repeat("x", 256)}, nil, ok},
		{"C34 jti too long", nil, s.es, statement{"jti": strings.Repeat("x", 257)}, nil, badClient},

		{"C35 unknown kid", nil, signer{s.es.alg, s.es.key, "new", ""}, nil, nil, badClient},
		{"C35 kid of another key", nil, signer{s.es.alg, s.es.key, "rs", ""}, nil, nil, badClient},
		{"C35 another's key with the kid", nil, s.other, nil, nil, badClient},
		{"C35 another's key without kid", nil, signer{s.other.alg, s.other.key, "", ""}, nil, nil, badClient},

		{"C36 sub isn't iss", nil, s.es, statement{"sub": plainID}, nil, badClient},
		{"C36 no sub", nil, s.es, statement{"sub": nil}, nil, badClient},
		{"C36 no iss", nil, s.es, statement{"iss": nil}, nil, badClient},
		{"C36 iss in other letters", nil, s.es, id("Signing App"), nil, badClient},
		{"C36 neither is the client", nil, s.es, id("https://sts.example.com"), nil, badClient},
		{"C36 another client_id in the body", nil, s.es, nil, []string{"client_id", spaID}, badClient},
		{"C36 iss too long", nil, s.es, id(strings.Repeat("x", MaxClientIDBytes+1)), nil, badClient},
		{"C36 iss of another type", nil, s.es, statement{"iss": []string{signingID}}, nil, badClient},

		{"C37 another type", nil, s.es, nil, []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, badRequest},
		{"C37 no type", nil, s.es, nil, []string{"client_assertion_type", ""}, badRequest},
		{"C37 no assertion", nil, s.es, nil, []string{"client_assertion", ""}, badRequest},
		{"C38 a secret as well", nil, s.es, nil, []string{"client_secret", "x"}, badRequest},

		{"C29 a client with a secret", nil, s.es, id(plainID), nil, badClient},
		{"C29 a public client", nil, s.es, id(spaID), nil, badClient},
		{"C29 a client that doesn't exist", nil, s.es, id("nobody"), nil, badClient},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newSigningFixture(t, c.change)
			r := f.expect(message{body: assertionBody(c.signer.sign(t, c.claims.payload(f.clock.Now())), c.more...)}, c.want)
			if c.want.status == 401 && r.body != string(invalidClient().body()) {
				t.Errorf("answered in other words than a wrong secret: %s", r.body)
			}
		})
	}
}

func TestAssertionTimes(t *testing.T) {
	for _, c := range []struct {
		name  string
		claim string
		from  any // seconds from now, or what else is there
		want  expect
	}{
		{"C35 no exp", "exp", nil, badClient},
		{"C35 exp is text", "exp", "4102444800", badClient},
		{"C35 exp without end", "exp", json.RawMessage("1e400"), badClient},
		{"C35 exp in the far past", "exp", json.RawMessage("-1e300"), badClient},
		{"C35 exp in the far future", "exp", json.RawMessage("1e300"), badClient},
		{"C35 expired", "exp", -60, badClient},
		{"C35 expired, by the leeway", "exp", -30, badClient},
		{"C35 expired, within the leeway", "exp", -29.5, ok},
		{"C35 exp in 5 minutes", "exp", 300, ok},
		{"C35 exp in 5 minutes and the leeway", "exp", 330, ok},
		{"C35 exp later", "exp", 330.5, badClient},
		{"C35 nbf within the leeway", "nbf", 30, ok},
		{"C35 nbf later", "nbf", 31, badClient},
		{"C35 nbf is text", "nbf", "soon", badClient},
		{"C35 iat within the leeway", "iat", 30, ok},
		{"C35 iat later", "iat", 31, badClient},
		{"C35 iat a day ago", "iat", -86400, ok},
		{"C35 iat is an object", "iat", statement{}, badClient},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newSigningFixture(t, nil)
			value := c.from
			switch from := c.from.(type) {
			case int:
				value = f.clock.Now().Unix() + int64(from)
			case float64:
				value = float64(f.clock.Now().Unix()) + from
			}
			compact := signers().es.sign(t, statement{c.claim: value}.payload(f.clock.Now()))
			f.expect(message{body: assertionBody(compact)}, c.want)
		})
	}
}

func TestAssertionForms(t *testing.T) {
	s := signers()
	now := time.Now()
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	good := s.es.sign(t, statement(nil).payload(now))
	part := strings.Split(good, ".")
	hmac := func() string {
		der, err := x509.MarshalPKIXPublicKey(s.rs.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		h := jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: public, KeyID: "rs"}}
		made, err := jose.NewSigner(h, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := made.Sign([]byte(statement(nil).payload(now)))
		if err != nil {
			t.Fatal(err)
		}
		compact, _ := jws.CompactSerialize()
		return compact
	}
	payload := statement(nil).payload(now)
	for name, compact := range map[string]string{
		"C35 alg none":                  encode(`{"alg":"none"}`) + "." + part[1] + ".",
		"C35 alg none with signature":   encode(`{"alg":"None","kid":"es"}`) + "." + part[1] + "." + part[2],
		"C35 no signature":              part[0] + "." + part[1] + ".",
		"C35 HS256 with the RSA key":    hmac(),
		"C35 another payload":           part[0] + "." + encode(payload) + "." + part[2],
		"C35 another header":            encode(`{"alg":"ES256","kid":"es","typ":"JWT"}`) + "." + part[1] + "." + part[2],
		"C35 no JWS":                    "x",
		"C35 two parts":                 part[0] + "." + part[1],
		"C35 four parts":                good + ".",
		"C35 JSON serialization":        `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`,
		"C35 padded":                    part[0] + "." + part[1] + "=." + part[2],
		"C35 line break":                part[0] + ".\n" + part[1] + "." + part[2],
		"C35 too long":                  good + strings.Repeat("A", maxAssertionBytes),
		"C35 names twice":               s.es.sign(t, `{"iss":"x",`+payload[1:]),
		"C35 names twice, deeper":       s.es.sign(t, `{"x":{"y":1,"y":2},`+payload[1:]),
		"C35 something behind":          s.es.sign(t, payload+"{}"),
		"C35 no object":                 s.es.sign(t, `["`+signingID+`"]`),
		"C35 null":                      s.es.sign(t, `null`),
		"C35 names in other letters":    s.es.sign(t, strings.Replace(payload, `"exp"`, `"Exp"`, 1)),
		"C35 no UTF-8":                  s.es.sign(t, `{"x":"`+"\xff"+`",`+payload[1:]),
		"C35 empty payload":             s.es.sign(t, ""),
		"C35 names twice in the header": encode(`{"alg":"none","alg":"ES256","kid":"es"}`) + "." + part[1] + "." + part[2],
	} {
		t.Run(name, func(t *testing.T) {
			f := newSigningFixture(t, nil)
			r := f.expect(message{body: assertionBody(compact)}, badClient)
			if r.body != string(invalidClient().body()) {
				t.Errorf("answered in other words than a wrong secret: %s", r.body)
			}
		})
	}
	t.Run("C32 in JSON", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		body, _ := json.Marshal(map[string]string{"token": "T", "client_assertion_type": jwtBearer, "client_assertion": f.good()})
		f.expect(message{media: jsonType, body: string(body)}, noContent)
	})
	t.Run("C33 URL as a client writes it, legacy", func(t *testing.T) {
		for _, host := range []string{"auth.example.com:443", "AUTH.example.com"} {
			m := message{}.request()
			m.Host = host
			if got := requestedURL(m); got != here {
				t.Errorf("%s is %s", host, got)
			}
		}
		if got := requestedURL(message{plain: true, target: "/a%2Fb?c=d"}.request()); got != "http://auth.example.com/a%2Fb" {
			t.Errorf("plain HTTP is %s", got)
		}
	})
	t.Run("C38 Basic as well", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.expect(message{body: assertionBody(f.good()), basic: app}, badRequest)
	})
	t.Run("C38 Bearer isn't client authentication", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.expect(message{body: assertionBody(f.good()), header: authorization("Bearer x")}, ok)
		f.expect(message{body: assertionBody(good), header: authorization("Bearer x")}, ok)
		f.expect(message{body: assertionBody(good), header: authorization("Bearer x")}, expect{401, "invalid_client", true, true})
	})
	t.Run("C29 a client with keys that sends something else", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.expect(message{body: "token=T&client_id=signing+app&client_secret=x"}, badClient)
		f.expect(message{body: "token=T&client_id=signing+app"}, badClient)
		f.expect(message{body: "token=T", basic: []string{signingID, "x"}}, challenged(401, "invalid_client"))
		f.expect(message{body: "token=T", basic: []string{signingID, ""}}, challenged(401, "invalid_client"))
	})
	t.Run("C29 only clients with keys", func(t *testing.T) {
		f := newSigningFixture(t, func(o *Options) {
			o.Clients, o.Compare, o.FakeHash = o.Clients[len(o.Clients)-1:], nil, nil
		})
		f.expect(message{body: "token=T", basic: app}, challenged(401, "invalid_client"))
		f.expect(message{body: assertionBody(f.good())}, ok)
	})
	t.Run("C29 a client with keys is confidential", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		if c := f.clients[signingID]; c.public() || c.quota != DefaultConfidentialQuota {
			t.Errorf("public: %t, quota %+v", c.public(), c.quota)
		}
	})
}

func FuzzAssertion(f *testing.F) {
	encode := base64.RawURLEncoding.EncodeToString
	header := encode([]byte(`{"alg":"ES256"}`))
	now := time.Unix(1_800_000_000, 0)
	for _, payload := range []string{
		statement(nil).payload(now), statement{"aud": []string{audience}}.payload(now), `{}`, `{"iss":"a"}`, `{"iss":"a","iss":"b"}`, `[]`, `null`, ``,
		`{"iss":"a","sub":"a","aud":"https://auth.example.com","exp":1e400,"jti":"x"}`, `{"iss":"\ud800"}`, `{"iss":"a","aud":{"x":1}}`, `{"iss":"a"} x`,
	} {
		f.Add(header + "." + encode([]byte(payload)) + ".c2ln")
	}
	f.Add("..")
	f.Add(header + ".e30\n.")
	f.Fuzz(func(t *testing.T, compact string) {
		a, err := readAssertion(compact)
		if err != nil {
			return
		}
		if a.Issuer == "" || len(a.Issuer) > MaxClientIDBytes || len(compact) > maxAssertionBytes {
			t.Errorf("accepted %d bytes with iss %q", len(compact), a.Issuer)
		}
		parts := strings.Split(compact, ".")
		if len(parts) != 3 || encode(a.payload) != parts[1] {
			t.Fatalf("%q isn't the one spelling of what was read", compact)
		}
		var reference map[string]any
		d := json.NewDecoder(bytes.NewReader(a.payload))
		d.UseNumber() // not every number fits a float64
		if err := d.Decode(&reference); err != nil {
			t.Fatalf("accepted what encoding/json doesn't: %v", err)
		}
		text := func(name string) string { s, _ := reference[name].(string); return s }
		if a.Issuer != text("iss") || a.Subject != text("sub") || a.ID != text("jti") {
			t.Errorf("read %+v, encoding/json %v", a, reference)
		}
		for _, list := range []bool{false, true} {
			if a.check(expectation{audiences: []string{audience}, list: list, now: now}) != nil {
				continue
			}
			number, _ := reference["exp"].(json.Number)
			exp, _ := number.Float64()
			if remains := a.remaining(now); remains <= 0 || remains > maxAssertionTime+2*assertionLeeway ||
				math.Abs(exp-float64(now.Unix())) > 330 || text("sub") != text("iss") || text("jti") == "" {
				t.Errorf("accepted %v for %s more", reference, remains)
			}
		}
	})
}
