package caddymodule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// These tests are about a success that says that no node accepts the token any more.

// newWaitingNode prepares a node whose endpoint waits for all others, and none of whose
// routes accepts tokens while it is stale.
func newWaitingNode(t testing.TB, e engine, address string, staleness, timeout time.Duration) *node {
	t.Helper()
	n := newNode(t, e, address, staleness)
	n.config = strings.NewReplacer(
		"hash_algorithm sha256", "hash_algorithm sha256\n\t\twait_for cluster "+timeout.String(),
		"on_stale allow", "on_stale deny",
	).Replace(n.config)
	return n
}

func startWaitingNodes(t testing.TB, e engine, staleness, timeout time.Duration, addresses ...string) []*node {
	t.Helper()
	var nodes []*node
	for _, address := range addresses {
		n := newWaitingNode(t, e, address, staleness, timeout)
		n.run(t)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.awaitFresh(t)
		n.awaitNodes(t, len(nodes))
	}
	return nodes
}

// awaitNodes waits until a node knows of so many.
func (n *node) awaitNodes(t testing.TB, count int) {
	t.Helper()
	becomes(t, fmt.Sprintf("the node knows of %d nodes", count), func() bool { return len(n.status(t).Cluster.Nodes) == count })
}

// stop ends the node as it should be.
func (n *node) stop(t testing.TB) {
	t.Helper()
	signal(t, n.cmd, syscall.SIGTERM)
	n.cmd.Wait()
	n.cmd = nil
}

// wantRejectedAtOnce checks that a token is rejected by each of the nodes, at the first try.
func wantRejectedAtOnce(t testing.TB, token string, nodes ...*node) {
	t.Helper()
	for i, n := range nodes {
		if status := bearer(t, n.URL("/"), token).status; status != 401 && status != 503 {
			t.Errorf("node %d answers %s with %d", i, token, status)
		}
	}
}

func TestClusterAfterAnAwaitedRevocationNoNodeAcceptsTheToken(t *testing.T) {
	onEachEngine(t, func(t *testing.T, e engine) {
		nodes := startWaitingNodes(t, e, time.Minute, 10*time.Second, e.address(), e.address(), e.address())
		client := &http.Client{Timeout: 20 * time.Second}
		var took []time.Duration
		for i := range shortly(30, 300) {
			token := fmt.Sprint("awaited-", i)
			wantStatus(t, bearer(t, nodes[(i+1)%3].URL("/"), token), 200)
			began := time.Now()
			if status, _ := nodes[i%3].tryRevoke(client, token); status != 200 {
				t.Fatalf("revoking: %d", status)
			}
			took = append(took, time.Since(began))
			wantRejectedAtOnce(t, token, nodes...)
		}
		slices.Sort(took)
		t.Logf("a revocation that waits for three nodes takes p50 %s, p99 %s, of %d",
			took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond), len(took))

		// One that ends as it should isn't waited for; the time would be over.
		nodes[2].stop(t)
		if status, _ := nodes[0].tryRevoke(client, "after-an-end"); status != 200 {
			t.Errorf("revoking: %d", status)
		}
		wantRejectedAtOnce(t, "after-an-end", nodes[:2]...)
		nodes[0].awaitNodes(t, 2)
		if metric(nodes[0].metrics(t), `caddy_token_revocation_await_nodes_duration_seconds_count{outcome="everywhere"}`) < 1 {
			t.Error("the metrics count no wait")
		}

		revoke := func(wait string) (string, error) {
			out, err := exec.Command(buildCaddy(t), "tokens", "revoke", wait, "--jti", "a", "--issuer", "https://idp.example", "--reason", "test",
				"--address", fmt.Sprint("localhost:", nodes[0].ports["ADMIN"])).CombinedOutput()
			return string(out), err
		}
		if out, err := revoke("--wait"); err != nil || !strings.Contains(out, "No node accepts what it hits any more.") {
			t.Errorf("%v: %s", err, out)
		}

		// One that is killed is, and by its name.
		nodes[1].kill()
		out, err := revoke("--wait=500ms")
		if err == nil || !strings.Contains(out, "it was revoked, as ") || !strings.Contains(out, "waiting for ") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

func TestClusterAKilledNodeIsWaitedForOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, e engine) {
		const staleness, timeout = 2 * time.Second, 1200 * time.Millisecond
		nodes := startWaitingNodes(t, e, staleness, timeout, e.address(), e.address(), e.address())
		client := &http.Client{Timeout: 20 * time.Second}
		nodes[2].kill()
		status, header := nodes[0].tryRevoke(client, "first")
		if status != 503 || header.Get("Retry-After") == "" {
			t.Errorf("a node was killed, and the revocation is answered with %d", status)
		}
		wantRejectedAtOnce(t, "first", nodes[:2]...)
		becomes(t, "the client's retry succeeds", func() bool { status, _ := nodes[0].tryRevoke(client, "first"); return status == 200 })
		for i := range 5 {
			token := fmt.Sprint("then-", i)
			if status, _ := nodes[i%2].tryRevoke(client, token); status != 200 {
				t.Errorf("revoking: %d", status)
			}
			wantRejectedAtOnce(t, token, nodes[:2]...)
		}
	})
}

func TestClusterANodeThatIsLenientIsWaitedForUntilItHasTheRecord(t *testing.T) {
	onEachEngine(t, func(t *testing.T, e engine) {
		const staleness = time.Second
		link := startLink(t, e.address())
		nodes := startWaitingNodes(t, e, staleness, 3*staleness, e.address())
		lenient := newNode(t, e, link.address(), staleness)
		lenient.run(t)
		lenient.awaitFresh(t)
		nodes[0].awaitNodes(t, 2)
		link.cut(bothWays)
		client := &http.Client{Timeout: 20 * time.Second}
		if status, _ := nodes[0].tryRevoke(client, "token"); status != 503 {
			t.Errorf("revoking: %d, and a node accepts the token: %d", status, bearer(t, lenient.urlOf("PORT1", "/"), "token").status)
		}
		link.heal()
		becomes(t, "the client's retry succeeds", func() bool { status, _ := nodes[0].tryRevoke(client, "token"); return status == 200 })
		wantStatus(t, bearer(t, lenient.urlOf("PORT1", "/"), "token"), 401)
	})
}

func TestClusterAnAwaitedRevocationIsNeverAcceptedByANodeThatWasStopped(t *testing.T) {
	onEachEngine(t, func(t *testing.T, e engine) {
		const staleness = time.Second
		nodes := startWaitingNodes(t, e, staleness, 20*time.Second, e.address(), e.address(), e.address())
		sleeper := nodes[2]
		client := &http.Client{Timeout: 30 * time.Second}
		for round := range shortly(1, 3) {
			token := fmt.Sprint("meanwhile-", round)
			wantStatus(t, bearer(t, sleeper.URL("/"), token), 200)
			signal(t, sleeper.cmd, syscall.SIGSTOP)
			if status, _ := nodes[0].tryRevoke(client, token); status != 200 {
				t.Errorf("revoking: %d", status)
			}
			wantRejectedAtOnce(t, token, nodes[:2]...)
			statuses := make(chan int, 64)
			var asking sync.WaitGroup
			for range 8 {
				asking.Go(func() {
					for range 8 {
						r, _ := http.NewRequest(http.MethodGet, sleeper.URL("/"), nil)
						r.Header.Set("Authorization", "Bearer "+token)
						resp, err := client.Do(r)
						if err != nil {
							t.Error(err)
							return
						}
						resp.Body.Close()
						statuses <- resp.StatusCode
					}
				})
			}
			time.Sleep(100 * time.Millisecond) // so that some are there when it goes on
			signal(t, sleeper.cmd, syscall.SIGCONT)
			asking.Wait()
			close(statuses)
			for status := range statuses {
				if status != 401 && status != 503 {
					t.Errorf("the node answers with %d", status)
				}
			}
			sleeper.awaitFresh(t)
		}
	})
}

// observed is something that was done with a token at a node: asked for, or revoked.
type observed struct {
	token  string
	node   int
	revoke bool
}

// nodeModel is what one node may answer about one token: it is accepted until it is revoked,
// and never again. A node that isn't sure may say so at any time.
var nodeModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		type place struct {
			token string
			node  int
		}
		parts := map[place][]porcupine.Operation{}
		for _, op := range history {
			o := op.Input.(observed)
			parts[place{o.token, o.node}] = append(parts[place{o.token, o.node}], op)
		}
		var all [][]porcupine.Operation
		for _, part := range parts {
			all = append(all, part)
		}
		return all
	},
	Init: func() any { return false },
	Step: func(state, input, output any) (bool, any) {
		revoked, o := state.(bool), input.(observed)
		switch {
		case o.revoke:
			return true, true
		case output == 200:
			return !revoked, revoked
		case output == 401:
			return revoked, revoked
		}
		return true, revoked
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %v", input, output) },
}

func TestClusterAwaitedRevocationsAreLinearizable(t *testing.T) {
	onEachEngine(t, testClusterAwaitedRevocationsAreLinearizable)
}

// Many revoke and many ask, at all nodes, while nodes stop for a while, lose their way to the
// engine, and the engine is killed. Each node's answers about each token must be as if the
// token had been revoked there at one moment, between question and answer of its revocation.
func testClusterAwaitedRevocationsAreLinearizable(t *testing.T, e engine) {
	const staleness = time.Second
	links := []*link{startLink(t, e.address()), startLink(t, e.address()), startLink(t, e.address())}
	nodes := startWaitingNodes(t, e, staleness, 4*time.Second, links[0].address(), links[1].address(), links[2].address())
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	h := &history{client: client}

	began := time.Now()
	var mu sync.Mutex
	var operations []porcupine.Operation
	var tokens []string // the last ones are asked about
	awaited := 0
	note := func(id int, o observed, call time.Duration, status int) {
		end := int64(time.Since(began))
		mu.Lock()
		defer mu.Unlock()
		if o.revoke {
			if status == 200 {
				awaited++
			} else {
				end = math.MaxInt64 // it may become true at any time, or never
			}
			for o.node = range nodes {
				operations = append(operations, porcupine.Operation{ClientId: id, Input: o, Call: int64(call), Output: status, Return: end})
			}
			return
		}
		operations = append(operations, porcupine.Operation{ClientId: id, Input: o, Call: int64(call), Output: status, Return: end})
	}
	stopRevoking := repeat(6, func(id int) {
		mu.Lock()
		token := fmt.Sprint("token-", len(tokens))
		tokens = append(tokens, token)
		mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond) // it is asked about before as well
		call := time.Since(began)
		status, _ := nodes[id%3].tryRevoke(client, token)
		note(id, observed{token: token, revoke: true}, call, status)
	})
	stopAsking := repeat(12, func(id int) {
		mu.Lock()
		count := len(tokens)
		mu.Unlock()
		if count == 0 {
			return
		}
		token := fmt.Sprint("token-", count-1-rand.IntN(min(count, 12)))
		n := rand.IntN(len(nodes))
		call := time.Since(began)
		if status := h.ask(nodes[n].URL("/"), token); status != 0 {
			note(100+id, observed{token: token, node: n}, call, status)
		}
	})
	time.Sleep(500 * time.Millisecond)
	for round := range shortly(1, 2) {
		signal(t, nodes[round%3].cmd, syscall.SIGSTOP)
		time.Sleep(staleness + staleness/2)
		signal(t, nodes[round%3].cmd, syscall.SIGCONT)
		time.Sleep(300 * time.Millisecond)
		links[(round+1)%3].cut(way(1 + rand.IntN(3)))
		time.Sleep(staleness + staleness/2)
		links[(round+1)%3].heal()
		time.Sleep(300 * time.Millisecond)
		e.kill()
		time.Sleep(100 * time.Millisecond)
		e.start(t)
		time.Sleep(time.Second)
	}
	stopRevoking()
	stopAsking()
	if awaited < 20 {
		t.Errorf("only %d revocations succeeded", awaited)
	}
	t.Logf("%d revocations, %d of which succeeded, and %d operations", len(tokens), awaited, len(operations))
	switch porcupine.CheckOperationsTimeout(nodeModel, operations, time.Minute) {
	case porcupine.Illegal:
		for _, part := range nodeModel.Partition(operations) {
			if porcupine.CheckOperations(nodeModel, part) {
				continue
			}
			slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
			for _, op := range part {
				t.Logf("%12s to %12s: %+v: %v", time.Duration(op.Call), time.Duration(op.Return), op.Input, op.Output)
			}
			t.Fatal("these answers are not those of one moment")
		}
	case porcupine.Unknown:
		t.Fatal("the history could not be judged in time")
	}
}

// TestTheModelSeesAnAnswerThatIsTooLate: a history that no cluster may have.
func TestTheModelSeesAnAnswerThatIsTooLate(t *testing.T) {
	op := func(call, end int64, revoke bool, status int) porcupine.Operation {
		return porcupine.Operation{Input: observed{token: "a", revoke: revoke}, Call: call, Return: end, Output: status}
	}
	revoked := op(10, 20, true, 200)
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"as it should be":             {[]porcupine.Operation{op(0, 5, false, 200), revoked, op(21, 22, false, 401)}, true},
		"still accepted":              {[]porcupine.Operation{revoked, op(21, 22, false, 200)}, false},
		"accepted again":              {[]porcupine.Operation{revoked, op(11, 12, false, 401), op(13, 14, false, 200)}, false},
		"rejected before":             {[]porcupine.Operation{op(0, 5, false, 401), revoked}, false},
		"it doesn't know":             {[]porcupine.Operation{revoked, op(21, 22, false, 503)}, true},
		"nobody knows how that ended": {[]porcupine.Operation{op(10, math.MaxInt64, true, 503), op(21, 22, false, 200)}, true},
	} {
		if got := porcupine.CheckOperations(nodeModel, c.ops); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
