package caddymodule

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// history knows every revocation that a cluster acknowledged, and checks that the cluster
// keeps what it promises about each. It knows nothing of engines.
type history struct {
	bound  time.Duration // the nodes' max_staleness
	client *http.Client

	mu           sync.Mutex
	acknowledged []answered
	refused      []answered // enforced at their node, durable later
	asked        int
}

// answered is a token whose revocation was answered.
type answered struct {
	token string
	at    time.Time // when the answer was there
	node  *node     // that was asked
}

func newHistory(bound time.Duration) *history {
	return &history{bound: bound, client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// revoke revokes a new token at a node and returns the status, 0 without an answer.
func (h *history) revoke(t testing.TB, n *node) (token string, status int) {
	t.Helper()
	h.mu.Lock()
	h.asked++
	token = fmt.Sprint("revoked-", h.asked)
	h.mu.Unlock()
	status, _ = n.tryRevoke(h.client, token)
	r := answered{token, time.Now(), n}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch status {
	case 200:
		h.acknowledged = append(h.acknowledged, r)
	case 503:
		h.refused = append(h.refused, r)
	case 0:
	default:
		t.Errorf("revoking: %d", status)
	}
	return token, status
}

// revokeEverywhere revokes a token at the first of the nodes and waits until all reject it.
func (h *history) revokeEverywhere(t testing.TB, nodes ...*node) (token string) {
	t.Helper()
	token, status := h.revoke(t, nodes[0])
	if status != 200 {
		t.Fatalf("revoking: %d", status)
	}
	for _, n := range nodes {
		becomes(t, "the token is revoked everywhere", func() bool { return h.ask(n.URL("/"), token) == 401 })
	}
	return token
}

func (h *history) counts() (acknowledged, refused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acknowledged), len(h.refused)
}

// storm revokes tokens at all of the nodes until the function it returns is called. Each of
// three writers for a node pauses between two.
func (h *history) storm(t testing.TB, pause time.Duration, nodes ...*node) (stop func()) {
	return repeat(3*len(nodes), func(writer int) {
		h.revoke(t, nodes[writer%len(nodes)])
		time.Sleep(pause)
	})
}

// repeat has goroutines do something again and again until the function it returns is
// called, which waits for them.
func repeat(goroutines int, what func(goroutine int)) (stop func()) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	for i := range goroutines {
		running.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
					what(i)
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(stopped)
		running.Wait()
	})
}

// some returns one that was acknowledged, half the time one of the last; ok is false when
// there is none.
func (h *history) some() (r answered, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := len(h.acknowledged)
	if count == 0 {
		return r, false
	}
	if rand.N(2) == 0 {
		return h.acknowledged[count-1-rand.N(min(count, 50))], true
	}
	return h.acknowledged[rand.N(count)], true
}

// ask returns a status, or 0 without an answer.
func (h *history) ask(url, token string) int {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// answers counts the statuses with which tokens were answered.
type answers struct{ revoked, unknown map[int]int }

func (a answers) String() string {
	return fmt.Sprintf("%v for revoked tokens, %v for another", a.revoked, a.unknown)
}

// watch checks tokens at a node from many goroutines until the function it returns is
// called. Where on_stale denies, none is accepted more than the bound after its
// acknowledgement, nor ever by the node that acknowledged it or has rejected it before;
// nothing is rejected that wasn't revoked; and nobody without a token is. The function
// returns what the node answered where on_stale denies.
func (h *history) watch(t testing.TB, n *node) (stop func() answers) {
	var mu sync.Mutex
	count := answers{map[int]int{}, map[int]int{}}
	known := map[string]bool{}
	wrong := 0
	check := func(url, token string, want func(status int) bool, says string) int {
		status := h.ask(url, token)
		if status == 0 || want(status) {
			return status
		}
		mu.Lock()
		defer mu.Unlock()
		if wrong++; wrong < 10 {
			t.Errorf("%s %s is answered with %d: %s", url, token, status, says)
		}
		return status
	}
	end := repeat(6, func(int) {
		if r, ok := h.some(); ok {
			mu.Lock()
			rejects := known[r.token] || r.node == n
			mu.Unlock()
			late := time.Since(r.at) > h.bound
			status := check(n.URL("/"), r.token, func(status int) bool {
				return status == 401 || !rejects && (status == 503 || status == 200 && !late)
			}, fmt.Sprintf("it was revoked %s ago, here: %v; the node must know that: %v", time.Since(r.at), r.node == n, rejects))
			mu.Lock()
			count.revoked[status]++
			if status == 401 {
				known[r.token], rejects = true, true
			}
			mu.Unlock()
			check(n.urlOf("PORT1", "/"), r.token, func(status int) bool {
				return status == 401 || !rejects && status == 200
			}, "where on_stale allows")
		}
		status := check(n.URL("/"), "unknown", func(status int) bool { return status == 200 || status == 503 }, "it was never revoked")
		mu.Lock()
		count.unknown[status]++
		mu.Unlock()
		check(n.URL("/"), "", func(status int) bool { return status == 200 }, "there is no token")
	})
	return func() answers {
		end()
		return count
	}
}

// settle checks, when all is well again, that nodes become fresh, and that each rejects all
// that any of them acknowledged, and also what they refused to acknowledge.
func (h *history) settle(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		n.awaitFresh(t)
	}
	for _, n := range nodes {
		becomes(t, "nothing is pending", func() bool { return n.status(t).List.Pending == 0 })
	}
	for _, n := range nodes {
		h.wantAll(t, n, true)
	}
}

// wantAll checks that a node rejects everything. One that has just lost its connection may
// lack what came last, for as long as the bound; a new one may lack nothing.
func (h *history) wantAll(t testing.TB, n *node, running bool) {
	t.Helper()
	h.mu.Lock()
	acknowledged, all := len(h.acknowledged), append(append([]answered{}, h.acknowledged...), h.refused...)
	h.mu.Unlock()
	var wrong sync.Map
	work := make(chan int)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for i := range work {
				end := time.Now().Add(30 * time.Second)
				for {
					late := time.Since(all[i].at) > h.bound
					status := h.ask(n.URL("/"), all[i].token)
					if status == 401 {
						break
					}
					if !running || status == 200 && late && i < acknowledged || time.Now().After(end) {
						wrong.Store(all[i].token, status)
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	for i := range all {
		work <- i
	}
	close(work)
	asking.Wait()
	shown, count := "", 0
	for token, status := range wrong.Range {
		if count++; count <= 10 {
			shown += fmt.Sprintf(" %v: %v", token, status)
		}
	}
	if count > 0 {
		t.Fatalf("the node accepts %d of %d revoked tokens:%s", count, len(all), shown)
	}
}

// wantNothingLost is settle, with a node that starts only now and knows nothing of before.
func (h *history) wantNothingLost(t testing.TB, e engine, address string, nodes ...*node) {
	t.Helper()
	h.settle(t, nodes...)
	n := newNode(t, e, address, h.bound)
	n.run(t)
	n.awaitFresh(t)
	h.wantAll(t, n, false)
	acknowledged, refused := h.counts()
	t.Logf("%d revocations were acknowledged and %d refused, none of which is accepted or lost", acknowledged, refused)
}
