//go:build !race

// The race detector makes sync.Pool forget things, which costs allocations.

package revocation

import "testing"

func TestACachedCheckAllocatesNothing(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, people())
	for name := range people() {
		c.Check(name)
	}
	check := func(when string) {
		t.Helper()
		if n := testing.AllocsPerRun(100, func() { c.Check("alice"); c.Check("bob") }); n != 0 {
			t.Errorf("%v allocations %s", n, when)
		}
	}
	check("without records")
	revoke(t, l, block(mustSelect(t, iss, Claim{RoleTokenID, "jti-1"})))
	revoke(t, l, blockToken("x"))
	check("with records")
}
