package bench

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// records is how many revocations there are, none of them of a token that is
// checked.
const records = 200_000

// tokens are in use at one time.
func tokens() []string {
	b64 := base64.RawURLEncoding.EncodeToString
	all := make([]string, 512)
	for i := range all {
		payload := fmt.Sprintf(`{"iss":"https://idp.example.com","jti":"%d","sub":"alice","client_id":"app","iat":1800000000,"exp":4000000000,"scope":"%s"}`, i, strings.Repeat("x", 400))
		all[i] = b64([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + b64([]byte(payload)) + "." + b64(make([]byte, 64))
	}
	return all
}

func fingerprint(n int) (f revocation.Fingerprint) {
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n))
	return sha256.Sum256(seed[:])
}

// memory is a store of records that need not survive.
type memory struct{}

func (memory) Append(context.Context, []revocation.Record) error { return nil }
func (memory) Close() error                                      { return nil }
func (memory) Load(_ context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	for i := range records {
		err := apply([]revocation.Record{{ID: revocation.ID{1}, Kind: revocation.Block, Selector: revocation.SelectToken(fingerprint(i)),
			Expires: time.Now().Add(time.Hour).Truncate(time.Second)}})
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// checker returns this project's check.
func checker(b *testing.B) func(string) bool {
	list, err := revocation.Open(context.Background(), memory{}, revocation.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { list.Close() })
	reader, err := token.NewReader(token.ReaderOptions{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := revocation.NewChecker(list, reader, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return func(t string) bool { return c.Check(t).State == revocation.Active }
}

// denylist is the usual answer: a map of the tokens' hashes under a lock. A
// token in another spelling gets past it.
func denylist(*testing.B) func(string) bool {
	var mu sync.RWMutex
	revoked := map[[32]byte]int64{}
	for i := range records {
		revoked[fingerprint(i)] = 1
	}
	return func(t string) bool {
		h := sha256.Sum256([]byte(t))
		mu.RLock()
		defer mu.RUnlock()
		_, found := revoked[h]
		return !found
	}
}

// jtiDenylist parses the token and looks its jti up, every time.
func jtiDenylist(*testing.B) func(string) bool {
	var revoked sync.Map
	for i := range records {
		revoked.Store(fmt.Sprint("revoked-", i), true)
	}
	parser := jwt.NewParser()
	return func(t string) bool {
		claims := jwt.MapClaims{}
		if _, _, err := parser.ParseUnverified(t, claims); err != nil {
			return false
		}
		_, found := revoked.Load(claims["jti"])
		return !found
	}
}

// ristrettoDefault caches facts under the token itself with ristretto's own
// hashes, which aren't exact, and looks nothing up.
func ristrettoDefault(b *testing.B) func(string) bool {
	cache, err := ristretto.NewCache(&ristretto.Config[string, int]{NumCounters: 1e6, MaxCost: 1 << 26, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cache.Close)
	return func(t string) bool {
		if _, ok := cache.Get(t); !ok {
			cache.Set(t, 1, int64(len(t)))
		}
		return true
	}
}

// otterExact caches facts under the token itself, exactly, and looks nothing up.
func otterExact(b *testing.B) func(string) bool {
	cache := otter.Must(&otter.Options[string, int]{MaximumSize: 100_000})
	return func(t string) bool {
		if _, ok := cache.GetIfPresent(t); !ok {
			cache.Set(t, 1)
		}
		return true
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, way := range []struct {
		name string
		make func(*testing.B) func(string) bool
	}{
		{"checker", checker}, {"sha256-map", denylist}, {"golang-jwt-jti", jtiDenylist},
		{"only-ristretto", ristrettoDefault}, {"only-otter", otterExact},
	} {
		b.Run("way="+way.name, func(b *testing.B) {
			check, all := way.make(b), tokens()
			for range 3 {
				for _, t := range all {
					check(t)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if !check(all[i%len(all)]) {
						b.Error("a live token is rejected")
					}
				}
			})
		})
	}
}
