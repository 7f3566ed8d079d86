// What New accepts, and the names of outcomes.

package endpoint

import (
	"slices"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	for _, c := range []struct {
		name, problem string
		change        func(*Options)
	}{
		{"fine", "", func(*Options) {}},
		{"only public clients need no hashes", "", func(o *Options) {
			o.Clients, o.Compare, o.FakeHash = []Client{{ID: "spa"}}, nil, nil
		}},
		{"no list", "no list", func(o *Options) { o.List = nil }},
		{"no facts", "reads tokens", func(o *Options) { o.Facts = nil }},
		{"no client", "no client", func(o *Options) { o.Clients = nil }},
		{"no comparer", "nothing compares", func(o *Options) { o.Compare = nil }},
		{"no fake hash", "fake hash", func(o *Options) { o.FakeHash = nil }},
		{"duplicate client", `"spa" is given twice`, func(o *Options) { o.Clients = append(o.Clients, Client{ID: "spa"}) }},
		{"empty id", "empty id", func(o *Options) { o.Clients[0].ID = "" }},
		{"long id", "201 bytes", func(o *Options) { o.Clients[0].ID = strings.Repeat("x", 201) }},
		{"longest id", "", func(o *Options) { o.Clients[0].ID = strings.Repeat("x", 200) }},
		{"control character in an id", "control character", func(o *Options) { o.Clients[0].ID = "a\nb" }},
		{"invalid UTF-8 in an id", "UTF-8", func(o *Options) { o.Clients[0].ID = "a\xff" }},
		{"empty hash", "hash 2 is empty", func(o *Options) { o.Clients[0].Hashes = [][]byte{{1}, nil} }},
		{"too many hashes", "at most 10", func(o *Options) { o.Clients[0].Hashes = slices.Repeat([][]byte{{1}}, 11) }},
		{"a client with keys", "", func(o *Options) {
			o.Clients[0].Hashes, o.Clients[0].Keys, o.AssertionAudience = nil, clientKeys(), []string{audience}
		}},
		{"only clients with keys need no hashes", "", func(o *Options) {
			o.Clients, o.Compare, o.FakeHash, o.AssertionAudience = []Client{{ID: "a", Keys: clientKeys()}}, nil, nil, []string{audience}
		}},
		{"hashes and keys", "either by a secret or by assertions", func(o *Options) {
			o.Clients[0].Keys, o.AssertionAudience = clientKeys(), []string{audience}
		}},
		{"no audience", "which audience", func(o *Options) { o.Clients[0].Hashes, o.Clients[0].Keys = nil, clientKeys() }},
		{"empty audience", "audience of assertions is empty", func(o *Options) { o.AssertionAudience = []string{audience, ""} }},
		{"realm", "realm", func(o *Options) { o.Realm = "a\r\nb" }},
		{"JSON success", "201", func(o *Options) { o.JSONSuccessStatus = 201 }},
		{"negative body", "none", func(o *Options) { o.MaxBodyBytes = -1 }},
		{"negative token", "none", func(o *Options) { o.MaxTokenBytes = -1 }},
		{"token larger than body", "don't fit", func(o *Options) { o.MaxBodyBytes, o.MaxTokenBytes = 10, 11 }},
		{"small body", "", func(o *Options) { o.MaxBodyBytes = 1024 }},
		{"negative RevokeTimeout", "negative", func(o *Options) { o.RevokeTimeout = -1 }},
		{"unlimited comparisons", "must be limited", func(o *Options) { o.Limits.ConcurrentCompares = -1 }},
		{"negative CompareWait", "negative", func(o *Options) { o.Limits.CompareWait = -1 }},
		{"origins", "", func(o *Options) {
			o.AllowOrigins = []string{"https://a.example", "http://localhost:3000", "https://[2001:db8::1]:8443", "capacitor://localhost", "chrome-extension://abcdef"}
		}},
		{"origin *", "every page", func(o *Options) { o.AllowOrigins = []string{"*"} }},
		{"origin null", "every page", func(o *Options) { o.AllowOrigins = []string{"null"} }},
		{"origin twice", "given twice", func(o *Options) { o.AllowOrigins = []string{"https://a.example", "https://a.example"} }},
		{"origin with a slash", `that is "https://a.example"`, func(o *Options) { o.AllowOrigins = []string{"https://a.example/"} }},
		{"origin with a path", `that is "https://a.example"`, func(o *Options) { o.AllowOrigins = []string{"https://a.example/app"} }},
		{"origin in capitals", `that is "https://a.example"`, func(o *Options) { o.AllowOrigins = []string{"https://A.example"} }},
		{"origin with the default port", `that is "https://a.example"`, func(o *Options) { o.AllowOrigins = []string{"https://a.example:443"} }},
		{"origin with a password", `that is "https://a.example"`, func(o *Options) { o.AllowOrigins = []string{"https://u:p@a.example"} }},
		{"origin without scheme", "of the form", func(o *Options) { o.AllowOrigins = []string{"a.example"} }},
		{"origin with a wildcard", "of the form", func(o *Options) { o.AllowOrigins = []string{"https://*.a.example"} }},
		{"origin with a space", "of the form", func(o *Options) { o.AllowOrigins = []string{"https://a.example https://b.example"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options()
			o.List = new(stub)
			c.change(&o)
			s, err := New(o)
			if (err == nil) != (c.problem == "") || (s == nil) != (err != nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("error %v, want one with %q", err, c.problem)
			}
		})
	}
	t.Run("all problems at once", func(t *testing.T) {
		_, err := New(Options{})
		if err == nil || strings.Count(err.Error(), "\n") != 2 {
			t.Errorf("error %v", err)
		}
	})
	t.Run("without logger, observer and clock", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Logger, o.Observe, o.Now = nil, nil, nil })
		f.expect(message{body: "token=T", basic: app}, ok)
	})
}

func TestOutcomes(t *testing.T) {
	seen := map[Outcome]bool{}
	for _, o := range Outcomes() {
		if seen[o] || strings.Trim(string(o), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%q is given twice or is no name", o)
		}
		seen[o] = true
	}
}
