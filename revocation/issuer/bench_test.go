package issuer

// The benchmarks of docs/performance.md that need keys.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// benchTokens returns signed tokens of about 840 bytes, with the usual claims.
func benchTokens(b testing.TB, key *signer, iss string, n int) []string {
	tokens := make([]string, n)
	sample := key.sign(b, benchClaims(b, iss, 0, ""), "at+jwt")
	scope := strings.Repeat("x", max(0, (840-len(sample))*3/4))
	for i := range tokens {
		tokens[i] = key.sign(b, benchClaims(b, iss, i, scope), "at+jwt")
	}
	return tokens
}

func benchClaims(b testing.TB, iss string, n int, scope string) map[string]any {
	return claimsOf(b, iss, fmt.Sprintf(`{"sub":"f3c1b2a0-%06d","client_id":"web-app","jti":"8d7c-%06d","sid":"5e6f-%06d","aud":"api","scope":%q}`, n, n, n, scope))
}

func (w *world) checkerOf(b *testing.B, cacheBytes int64) *revocation.Checker {
	c, err := revocation.NewChecker(w.list, w.reader, cacheBytes)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

func (w *world) mustProve(b *testing.B, c *revocation.Checker, token string) {
	v, proof, err := c.CheckProven(b.Context(), revocation.Presented{Token: token}, w.set)
	if err != nil || v.State != revocation.Active || proof == nil {
		b.Errorf("%s, %v", v.State, err)
	}
}

func BenchmarkFirstSightVerified(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			key := newSigner(b, alg, "2026-11-key-1")
			p := newProvider(b, key)
			w := newWorld(b, Options{Name: p.url})
			tokens := benchTokens(b, key, p.url, 1000)
			c := w.checkerOf(b, 0)
			w.mustProve(b, w.checker, tokens[0]) // which fetches the keys
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(tokens) == 0 && i > 0 {
					b.StopTimer()
					c.Close()
					c = w.checkerOf(b, 0)
					b.StartTimer()
				}
				w.mustProve(b, c, tokens[i%len(tokens)])
			}
			b.ReportMetric(float64(len(tokens[0])), "B/token")
		})
	}
}

func BenchmarkCachedCheckProven(b *testing.B) {
	key := newSigner(b, "ES256", "2026-11-key-1")
	p := newProvider(b, key)
	w := newWorld(b, Options{Name: p.url})
	tokens := benchTokens(b, key, p.url, 512) // a power of two
	c := w.checkerOf(b, 0)
	for _, token := range tokens {
		w.mustProve(b, c, token)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			w.mustProve(b, c, tokens[i%len(tokens)])
		}
	})
}

// Far more tokens than the cache has room for, one after the other: each may have to
// be verified again.
func BenchmarkDistinctTokensSmallCache(b *testing.B) {
	for _, alg := range []string{"ES256", "RS256"} {
		b.Run(alg, func(b *testing.B) {
			key := newSigner(b, alg, "2026-11-key-1")
			p := newProvider(b, key)
			w := newWorld(b, Options{Name: p.url})
			tokens := benchTokens(b, key, p.url, 10_000)
			c := w.checkerOf(b, 1<<20)
			w.mustProve(b, c, tokens[0])
			before := c.CacheMisses()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					w.mustProve(b, c, tokens[i%len(tokens)])
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(c.CacheMisses()-before)/float64(b.N), "misses/op")
		})
	}
}

func TestBenchmarkTokensHaveTheSizeTheySay(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		if n := len(benchTokens(t, newSigner(t, alg, "2026-11-key-1"), "http://127.0.0.1:12345", 1)[0]); n < 830 || n > 850 {
			t.Errorf("%s: %d bytes", alg, n)
		}
	}
}
