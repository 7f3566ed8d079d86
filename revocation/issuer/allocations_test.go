//go:build !race

// The race detector makes sync.Pool forget things, which costs allocations.

package issuer

import "testing"

func TestACachedProvenCheckAllocatesNothing(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	w := newWorld(t, Options{Name: p.url})
	compact := key.sign(t, claimsOf(t, p.url, `{"jti":"1"}`), "at+jwt")
	first := w.prove(compact)
	if n := testing.AllocsPerRun(100, func() {
		if _, proof, err := w.check(compact); err != nil || proof != first {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
