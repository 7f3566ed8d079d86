package revocation

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// Nodes revoke, take back what hits the same tokens, read everything again and lose what
// the store had, all at once. After Revoke has returned its node never accepts the token,
// and none does once it has come to where the sequence ended then.
func TestNoRevocationIsLostWhileEverythingGoesOn(t *testing.T) {
	f := newFeed()
	nodes := joinAll(t, f, 3)
	const tokens = 12 // few: reinstatements and revocations meet under the same keys
	long := 1500 * time.Millisecond
	if testing.Short() {
		long /= 5
	}
	stop := make(chan struct{})
	time.AfterFunc(long, func() { close(stop) })
	over := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var revoked sync.Map // tokens for good, by who was told
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			for round := 0; !over(); round++ {
				token := fmt.Sprint("t", i, "-", round%tokens, "-", round/tokens/3)
				mistake, real := blockToken(token), blockToken(token)
				if err := n.Revoke(t.Context(), mistake); err != nil {
					t.Error(err)
				}
				var both sync.WaitGroup
				both.Go(func() { // elsewhere, where it may not be known yet, or here
					nodes[(i+round)%len(nodes)].Reinstate(t.Context(), Note{}, mistake.ID)
				})
				both.Go(func() {
					if err := n.Revoke(t.Context(), real); err != nil {
						t.Error(err)
					}
					if n.Check(token).State != Revoked {
						t.Errorf("node %d accepts %s after it revoked it", i, token)
					}
				})
				both.Wait()
				revoked.Store(token, n)
				f.mu.Lock()
				head := f.at(len(f.records))
				f.mu.Unlock()
				if round%5 > 0 {
					continue
				}
				for k, o := range nodes {
					for at := o.Applied(); (at == "" || !n.client.Covers(at, head)) && !over(); at = o.Applied() {
						time.Sleep(100 * time.Microsecond)
					}
					if !over() && o.Check(token).State != Revoked {
						t.Errorf("node %d accepts %s, which node %d revoked before %s", k, token, i, head)
					}
				}
			}
		})
		wg.Go(func() { // what was told holds all the time
			for !over() {
				revoked.Range(func(token, by any) bool {
					if by == n && n.Check(token.(string)).State != Revoked {
						t.Errorf("node %d accepts %s", i, token)
					}
					return true
				})
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Go(func() {
		for round := 0; !over(); round++ {
			time.Sleep(40 * time.Millisecond)
			nodes[round%len(nodes)].follower.breakOff(ErrFeedBroken)
		}
	})
	wg.Wait()
	f.fork(len(f.stored()) / 2)
	nodes = append(nodes, join(t, f, nil))
	revoked.Range(func(token, _ any) bool {
		everywhere(t, nodes, token.(string), Revoked)
		return true
	})
	eventually(t, "nothing is pending", func() bool {
		return !slices.ContainsFunc(nodes, func(n *clusterNode) bool { return n.Stats().Pending > 0 })
	})
}
