// 1.C of the contract: client authentication.
//
// Not here: C22 (self-revocation) is tested with the issuers, C32 to C38 and the rest
// of C29 (private_key_jwt) in assertion_test.go. C39 and C40 (mTLS) are a method of
// authentication that doesn't exist yet. C28 is tested as far as it goes: a client
// that was removed. C30 has no date on which an old secret ends: both are good as
// long as both are configured.

package endpoint

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// encoded is Basic as in RFC 6749 §2.3.1.
func encoded(id, secret string) []string {
	return []string{url.QueryEscape(id), url.QueryEscape(secret)}
}

func authorization(value string) []string { return []string{"Authorization", value} }

func TestClientAuthentication(t *testing.T) {
	const T = "token=T"
	post := func(id, secret string) string {
		return T + "&" + url.Values{"client_id": {id}, "client_secret": {secret}}.Encode()
	}
	b64 := base64.StdEncoding.EncodeToString
	only := func(clients ...Client) func(*Options) { return func(o *Options) { o.Clients = clients } }
	simpleID := only(Client{ID: "pub", Hashes: [][]byte{hashOf(webSecret)}}, Client{ID: "ü", Hashes: [][]byte{hashOf("é")}})
	// One secret is the decoded form of the other.
	percent := only(Client{ID: "a", Hashes: [][]byte{hashOf("x%41+")}}, Client{ID: "b", Hashes: [][]byte{hashOf("xA ")}})
	strictBasic := func(o *Options) { simpleID(o); o.StrictBasic = true }
	strict := func(o *Options) { o.StrictCredentials = true }
	bad, badBasic, badRequest := refused(401, "invalid_client"), challenged(401, "invalid_client"), refused(400, "invalid_request")

	run(t, []one{
		{"C1 form-urlencoded", nil, message{body: T, basic: encoded(webID, webSecret)}, ok},
		{"C1 as in RFC 6749", nil, message{body: T, basic: []string{"my+client%3A1", "s3cr%2Bt%2F%25%26%C3%A9"}}, ok},
		{"C1 also when strict", strictBasic, message{body: T, basic: encoded("pub", webSecret)}, ok},
		{"C2 raw", simpleID, message{body: T, basic: []string{"pub", webSecret}}, ok},
		{"C2 raw when strict", strictBasic, message{body: T, basic: []string{"pub", webSecret}}, badBasic},
		{"C3 raw in Latin-1", simpleID, message{body: T, basic: []string{"pub", "s3cr+t/%&\xe9"}}, ok},
		{"C3 id in Latin-1", simpleID, message{body: T, basic: []string{"\xfc", "\xe9"}}, ok},
		{"C3 in Latin-1 when strict", strictBasic, message{body: T, basic: []string{"ü", "\xe9"}}, badBasic},
		{"C4 right when raw", percent, message{body: T, basic: []string{"a", "x%41+"}}, ok},
		{"C4 the same, encoded", percent, message{body: T, basic: encoded("a", "x%41+")}, ok},
		{"C4 right when decoded", percent, message{body: T, basic: []string{"b", "x%41+"}}, ok},
		{"C4 the same, raw", percent, message{body: T, basic: []string{"b", "xA "}}, ok},
		{"C4 wrong", percent, message{body: T, basic: []string{"a", "xA "}}, badBasic},
		{"C5 colon in the id, encoded", nil, message{body: T, basic: []string{"my client%3A1", url.QueryEscape(webSecret)}}, ok},
		{"C5 colon in the id, raw", nil, message{body: T, basic: web}, badBasic},
		{"C5 colon in the secret, raw", only(Client{ID: "a", Hashes: [][]byte{hashOf("b:c")}}), message{body: T, basic: []string{"a", "b:c"}}, ok},
		{"C6 wrong secret", nil, message{body: T, basic: []string{plainID, "wrong"}}, badBasic},
		{"C7 unknown client", nil, message{body: T, basic: []string{"nobody", "wrong"}}, badBasic},
		{"C7 case of the id", nil, message{body: T, basic: []string{"Web-App", plainPass}}, badBasic},
		{"C8 wrong secret in the body", nil, message{body: post(plainID, "wrong")}, bad},
		{"C9 right secret in the body", nil, message{body: post(webID, webSecret)}, ok},
		{"C9 percent-encoding twice is a wrong secret", simpleID, message{body: post("pub", url.QueryEscape(webSecret))}, bad},
		{"C10 both, the same, encoded", nil, message{body: post(webID, webSecret), basic: encoded(webID, webSecret)}, ok},
		{"C10 both, the same, raw", simpleID, message{body: post("pub", webSecret), basic: []string{"pub", webSecret}}, ok},
		{"C10 strict", strict, message{body: post(plainID, plainPass), basic: app}, badRequest},
		{"C10 secret without id in the body", nil, message{body: "token=T&client_secret=" + plainPass, basic: app}, ok},
		{"C11 both, another id", nil, message{body: post(opsID, opsSecret), basic: app}, badRequest},
		{"C12 both, body secret wrong", nil, message{body: post(plainID, "wrong"), basic: app}, badBasic},
		{"C12 both, Basic secret wrong", nil, message{body: post(plainID, plainPass), basic: []string{plainID, "wrong"}}, badBasic},
		{"C12 both, two right secrets", nil, message{body: post(plainID, oldSecret), basic: app}, badBasic},
		{"C12 both, Basic secret empty", nil, message{body: post(plainID, plainPass), basic: []string{plainID, ""}}, badBasic},
		{"C13 Basic and client_id", nil, message{body: T + "&client_id=web-app", basic: app}, ok},
		{"C13 also when strict", strict, message{body: T + "&client_id=web-app", basic: app}, ok},
		{"C14 Basic and another client_id", nil, message{body: T + "&client_id=spa", basic: app}, badRequest},
		{"C15 Basic and empty parameters", strict, message{body: "client_id=&client_secret=&token=T&token_type_hint=", basic: app}, ok},
		{"C16 Basic with an empty password", nil, message{body: T, basic: []string{plainID, ""}}, badBasic},
		{"C17 Basic of a public client", nil, message{body: T, basic: []string{spaID, ""}}, ok},
		{"C18 not base64", nil, message{body: T, header: authorization("Basic *")}, badBasic},
		{"C18 no colon", nil, message{body: T, header: authorization("Basic " + b64([]byte("spa")))}, badBasic},
		{"C18 two spaces", nil, message{body: T, header: authorization("Basic  " + b64([]byte("spa:")))}, badBasic},
		{"C18 nothing to pad", nil, message{body: T, header: authorization(strings.TrimRight(basic(plainID, "correct-horse"), "="))}, ok},
		{"C18 unpadded", nil, message{body: T, header: authorization("Basic c3BhOg")}, badBasic},
		{"C18 bits behind the end", nil, message{body: T, header: authorization("Basic c3BhOh==")}, badBasic},
		{"C18 no credentials", nil, message{body: T, header: authorization("Basic")}, badBasic},
		{"C18 empty id", nil, message{body: T, basic: []string{"", "x"}}, badBasic},
		{"C18 something behind", nil, message{body: T, header: authorization(basic(plainID, plainPass) + ", Bearer x")}, badBasic},
		{"C19 scheme in lower case", nil, message{body: T, header: authorization("b" + basic(plainID, plainPass)[1:])}, ok},
		{"C20 two Authorization headers", nil, message{body: T, header: append(authorization(basic(plainID, plainPass)), authorization(basic(plainID, plainPass))...)}, badRequest},
		{"C21 Bearer and a public client", nil, message{body: T + "&client_id=spa", header: authorization("Bearer x")}, ok},
		{"C21 Bearer and a secret", nil, message{body: post(plainID, plainPass), header: authorization("Bearer x")}, ok},
		{"C21 Bearer alone", nil, message{body: T, header: authorization("Bearer T")}, badBasic},
		{"C21 Bearer and a wrong secret", nil, message{body: post(plainID, "wrong"), header: authorization("Bearer x")}, badBasic},
		{"C23 Negotiate and a secret", nil, message{body: post(plainID, plainPass), header: authorization("Negotiate TlRMTVNTUAAB")}, ok},
		{"C24 no credentials", nil, message{body: T}, bad},
		{"C24 empty Authorization", nil, message{body: T, header: authorization("")}, bad},
		{"C24 a secret without an id", nil, message{body: "token=T&client_secret=" + plainPass}, bad},
		{"C25 public client", nil, message{body: T + "&client_id=spa"}, ok},
		{"C25 public client with an empty secret", nil, message{body: T + "&client_id=spa&client_secret="}, ok},
		{"C26 public client with a secret", nil, message{body: post(spaID, "x")}, bad},
		{"C26 the same in Basic", nil, message{body: T, basic: []string{spaID, "x"}}, badBasic},
		{"C27 confidential client without secret", nil, message{body: T + "&client_id=web-app"}, bad},
		{"C28 a client that was removed", only(clients()[2]), message{body: T, basic: app}, badBasic},
		{"C29 an assertion where no client has keys", nil, message{body: T + "&client_id=spa&client_assertion=x&client_assertion_type=" + url.QueryEscape(jwtBearer)}, bad},
		{"C29 empty assertion", nil, message{body: T + "&client_id=spa&client_assertion="}, ok},
		{"C29 an assertion and a secret", nil, message{body: T + "&client_assertion=x", basic: app}, badRequest},
		{"C30 the new secret", nil, message{body: T, basic: app}, ok},
		{"C30 the old secret", nil, message{body: T, basic: []string{plainID, oldSecret}}, ok},
		{"C31 secret too long to compare", nil, message{body: post(plainID, strings.Repeat("x", MaxSecretBytes+1))}, bad},
		{"C31 id too long", nil, message{body: post(strings.Repeat("x", MaxClientIDBytes+1), "x")}, bad},
		{"C43 neither token nor authentication", nil, message{body: "x=y"}, bad},
		{"C43 no token and a wrong secret", nil, message{basic: []string{plainID, "wrong"}}, badBasic},
		{"C43 token too long and a wrong secret", func(o *Options) { o.MaxTokenBytes = 1 }, message{body: "token=other", basic: []string{plainID, "wrong"}}, badBasic},
	})

	t.Run("C6 C7 C26 identical bytes and the same work", func(t *testing.T) {
		type seen struct {
			status   int
			body     string
			header   string
			compared int64
		}
		var first seen
		for i, credentials := range [][]string{
			{plainID, "wrong"}, {"nobody", "wrong"}, {opsID, "wrong"}, {spaID, "wrong"},
		} {
			f := newFixture(t, nil)
			r := f.send(message{body: T, basic: credentials})
			s := seen{r.StatusCode, r.body, strings.Join(r.Header.Values("WWW-Authenticate"), "|"), f.hash.compared.Load()}
			if i == 0 {
				first = s
			}
			if s != first || s.compared != 2 { // web-app has most secrets: two
				t.Errorf("%v: %+v, want %+v", credentials, s, first)
			}
		}
	})
	t.Run("C4 distinct readings only are compared", func(t *testing.T) {
		for secret, compared := range map[string]int64{"plain": 2, "with+plus": 4, "%zz": 2, "with%20escape": 4} {
			f := newFixture(t, nil)
			f.send(message{body: T, basic: []string{plainID, secret}})
			if got := f.hash.compared.Load(); got != compared {
				t.Errorf("%q was compared %d times, want %d", secret, got, compared)
			}
		}
	})
	t.Run("C11 C12 C31 nothing is compared", func(t *testing.T) {
		f := newFixture(t, nil)
		f.send(message{body: post(opsID, opsSecret), basic: app})
		f.send(message{body: post(plainID, "wrong"), basic: app})
		f.send(message{body: post(plainID, strings.Repeat("x", MaxSecretBytes+1))})
		if n := f.hash.compared.Load(); n != 0 {
			t.Errorf("compared %d times", n)
		}
	})
	t.Run("C31 bcrypt", func(t *testing.T) {
		secret := strings.Repeat("x", 72)
		hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, func(o *Options) {
			o.Clients = []Client{{ID: "a", Hashes: [][]byte{hash}}, {ID: "b", Hashes: [][]byte{[]byte("not a hash")}}}
			o.Compare, o.FakeHash = bcryptHash{}, hash
		})
		f.expect(message{body: T, basic: []string{"b", "x"}}, badBasic)
		if !strings.Contains(f.log.String(), "can't be compared") {
			t.Error("nothing is said about a hash that isn't one")
		}
		f.expect(message{body: T, basic: []string{"a", "x"}}, badBasic)
		f.expect(message{body: T, basic: []string{"a", secret}}, ok)
	})
	t.Run("C42 authentication fails for a token that is dead", func(t *testing.T) {
		f := newFixture(t, nil)
		f.expect(message{body: T, basic: app}, ok)
		for range 2 {
			f.expect(message{body: T, basic: []string{plainID, "wrong"}}, expect{401, "invalid_client", true, true})
			f.expect(message{body: T}, expect{401, "invalid_client", false, true})
		}
	})
}

type bcryptHash struct{}

func (bcryptHash) Compare(hash, plaintext []byte) (bool, error) {
	err := bcrypt.CompareHashAndPassword(hash, plaintext)
	if err == bcrypt.ErrMismatchedHashAndPassword {
		return false, nil
	}
	return err == nil, err
}

func TestLogHasNoCredentials(t *testing.T) {
	t.Run("H2 no token, secret, id of a stranger or Authorization", func(t *testing.T) {
		f := newFixture(t, nil)
		const secret, stranger, tok = "secret-in-request", "stranger-in-request", "token-in-request"
		for _, m := range []message{
			{body: "token=" + tok, basic: app},
			{body: "token=" + tok, basic: []string{plainID, secret}},
			{body: "token=" + tok, basic: []string{stranger, secret}},
			{body: "token=" + tok + "&client_id=" + stranger + "&client_secret=" + secret},
			{body: "token=" + tok + "&token=" + tok, basic: app},
			{body: "token=" + tok + "%00", basic: app},
			{media: jsonType, body: `{"token":"` + tok + `"`, basic: app},
			{media: jsonType, body: `{"token":"` + tok + `","token_type_hint":"` + secret + `"}`, basic: app},
		} {
			f.send(m)
		}
		log := f.log.String()
		for _, leak := range []string{secret, stranger, tok, plainPass, "Basic ", basic(plainID, plainPass)[6:]} {
			if strings.Contains(log, leak) {
				t.Errorf("the log has %q:\n%s", leak, log)
			}
		}
		fp := options().Facts.ReadFacts(tok).Fingerprint.String()
		if !strings.Contains(log, "fingerprint="+fp) {
			t.Errorf("the log hasn't the fingerprint %s:\n%s", fp, log)
		}
		for _, want := range []string{"client_id=web-app", "claimed_client_id=web-app", "outcome=revoked", "outcome=invalid_client", "level=WARN"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log has no %s:\n%s", want, log)
			}
		}
	})
}
