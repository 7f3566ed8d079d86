package caddymodule

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestClusterRejectsOnAllNodesWhatIsRevokedOnOne(t *testing.T) {
	onEachEngine(t, testClusterRejectsOnAllNodesWhatIsRevokedOnOne)
}

func testClusterRejectsOnAllNodesWhatIsRevokedOnOne(t *testing.T, e engine) {
	nodes := startCluster(t, e, time.Minute)
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	var took []time.Duration
	for i := range rounds {
		token := fmt.Sprint("token-", i)
		wantStatus(t, bearer(t, nodes[(i+1)%3].URL("/"), token), 200) // so that it is cached
		nodes[i%3].mustRevoke(t, token)
		began := time.Now()
		wantStatus(t, bearer(t, nodes[i%3].URL("/"), token), 401)
		for _, n := range nodes {
			for bearer(t, n.URL("/"), token).status != 401 {
				if time.Since(began) > 5*time.Second {
					t.Fatalf("%s passes on a node after %s", token, time.Since(began))
				}
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("from the acknowledgement of a revocation to three nodes that have answered 401: p50 %s, p99 %s, of %d",
		took[rounds/2].Round(10*time.Microsecond), took[rounds*99/100].Round(10*time.Microsecond), rounds)

	becomes(t, "each node sees three, none of which is behind", func() bool {
		for _, n := range nodes {
			s := n.status(t)
			if len(s.Cluster.Nodes) != 3 {
				return false
			}
			for _, other := range s.Cluster.Nodes {
				if !other.Fresh || other.Silent || other.Name == "" || other.Version == "" || other.Lag == nil || *other.Lag != 0 {
					return false
				}
			}
		}
		return true
	})
	s := nodes[0].status(t)
	if s.Store.Durability != e.durability() || s.Cluster.Applied == "" || s.Cluster.Replica == inMemory || s.Cluster.MaxStaleness != "1m0s" {
		t.Errorf("%+v, %+v", s.Store, s.Cluster)
	}
	nodes[2].wantLag(t, 0, 10)
	out, err := exec.Command(buildCaddy(t), "tokens", "status", "--address", fmt.Sprint("localhost:", nodes[1].ports["ADMIN"])).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "All is well.\n") || strings.Count(string(out), "  yes    0 entries") != 3 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestClusterLosesNothingAcknowledgedWhenTheEngineIsKilled(t *testing.T) {
	onEachEngine(t, testClusterLosesNothingAcknowledgedWhenTheEngineIsKilled)
}

func testClusterLosesNothingAcknowledgedWhenTheEngineIsKilled(t *testing.T, e engine) {
	const staleness = 10 * time.Second
	nodes := startCluster(t, e, staleness)
	h := newHistory(staleness)
	rounds := shortly(1, 3)
	stop := h.storm(t, 0, nodes...)
	defer stop()
	for range rounds {
		time.Sleep(time.Duration(300+rand.IntN(300)) * time.Millisecond)
		e.kill()
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		e.start(t)
		time.Sleep(300 * time.Millisecond)
	}
	stop()
	if acknowledged, _ := h.counts(); acknowledged < 10*rounds {
		t.Errorf("only %d revocations were acknowledged", acknowledged)
	}
	ended := time.Now()
	h.settle(t, nodes...)
	t.Logf("all nodes have everything %s after the storm", time.Since(ended).Round(time.Millisecond))
	fourth := newNode(t, e, e.address(), staleness)
	fourth.run(t)
	fourth.awaitFresh(t)
	h.wantAll(t, fourth, false)

	// An engine that has lost everything gets it back.
	e.empty(t)
	for _, n := range nodes {
		n.awaitFresh(t)
		h.wantAll(t, n, false)
	}
	becomes(t, "the engine has everything again", func() bool {
		return strings.Contains(nodes[0].log(t)+nodes[1].log(t)+nodes[2].log(t)+fourth.log(t), "it has them again")
	})
	h.wantNothingLost(t, e, e.address(), nodes...)
}

func TestClusterNodesStartAndEnforceWhileTheEngineIsAway(t *testing.T) {
	onEachEngine(t, testClusterNodesStartAndEnforceWhileTheEngineIsAway)
}

func testClusterNodesStartAndEnforceWhileTheEngineIsAway(t *testing.T, e engine) {
	const staleness = 2 * time.Second
	nodes := startCluster(t, e, staleness)
	nodes[0].mustRevoke(t, "known")
	for _, n := range nodes {
		becomes(t, "the token is revoked everywhere", func() bool { return bearer(t, n.URL("/"), "known").status == 401 })
	}
	died := time.Now()
	e.kill()

	// One that goes on knows enough for a while.
	wantStatus(t, bearer(t, nodes[1].URL("/"), "unknown"), 200)
	// What is revoked now is enforced where that was asked, and isn't acknowledged.
	if status, header := nodes[1].tryRevoke(http.DefaultClient, "pending"); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("status %d without an engine", status)
	}
	wantStatus(t, bearer(t, nodes[1].URL("/"), "pending"), 401)
	for _, n := range nodes[1:] {
		n.awaitStale(t)
		if d := time.Since(died); d > staleness+5*time.Second {
			t.Errorf("stale after %s", d)
		}
		n.wantStale(t, "known")
	}

	// One that starts knows what it knew, and nothing more.
	nodes[0].kill()
	began := time.Now()
	nodes[0].run(t)
	t.Logf("without the engine, Caddy serves after %s", time.Since(began).Round(time.Millisecond))
	nodes[0].wantStale(t, "known")
	// What was pending survives a restart.
	nodes[1].kill()
	nodes[1].run(t)
	wantStatus(t, bearer(t, nodes[1].URL("/"), "pending"), 401)
	if s := nodes[0].status(t); s.List.Fresh || !strings.Contains(s.List.Cause, "can't be reached") {
		t.Errorf("the status says %+v", s.List)
	}

	e.start(t)
	for _, n := range nodes {
		n.awaitFresh(t)
		wantStatus(t, bearer(t, n.URL("/"), "unknown"), 200)
		wantStatus(t, bearer(t, n.URL("/"), "known"), 401)
		becomes(t, "what was pending is revoked everywhere", func() bool { return bearer(t, n.URL("/"), "pending").status == 401 })
	}
}

func TestClusterNodeThatWasStoppedDoesNotAcceptWhatWasRevokedMeanwhile(t *testing.T) {
	onEachEngine(t, testClusterNodeThatWasStoppedDoesNotAcceptWhatWasRevokedMeanwhile)
}

func testClusterNodeThatWasStoppedDoesNotAcceptWhatWasRevokedMeanwhile(t *testing.T, e engine) {
	const staleness = time.Second
	nodes := startCluster(t, e, staleness)
	sleeper := nodes[2]
	for round := range 3 {
		token := fmt.Sprint("meanwhile-", round)
		wantStatus(t, bearer(t, sleeper.URL("/"), token), 200)
		signal(t, sleeper.cmd, syscall.SIGSTOP)
		nodes[0].mustRevoke(t, token)
		// Requests that come while it is stopped, and on connections that it has.
		var wg sync.WaitGroup
		answers := make(chan int, 64)
		for range 8 {
			wg.Go(func() {
				for range 8 {
					r, _ := http.NewRequest(http.MethodGet, sleeper.URL("/"), nil)
					r.Header.Set("Authorization", "Bearer "+token)
					resp, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
					answers <- resp.StatusCode
				}
			})
		}
		time.Sleep(staleness + 500*time.Millisecond)
		signal(t, sleeper.cmd, syscall.SIGCONT)
		wg.Wait()
		close(answers)
		count := map[int]int{}
		for status := range answers {
			if count[status]++; status != 401 && status != 503 {
				t.Errorf("a node that was stopped answers with %d", status)
			}
		}
		t.Logf("answers after the pause: %v", count)
		sleeper.awaitFresh(t)
		wantStatus(t, bearer(t, sleeper.URL("/"), token), 401)
	}

	// The engine stops, and goes on.
	e.pause(t)
	for _, n := range nodes {
		n.awaitStale(t)
		n.wantStale(t, "meanwhile-0")
	}
	e.resume(t)
	for _, n := range nodes {
		n.awaitFresh(t)
		wantStatus(t, bearer(t, n.URL("/"), "unknown"), 200)
	}
}

func TestClusterWrongPasswordIsToldAndCanBeSetRight(t *testing.T) {
	onEachEngine(t, testClusterWrongPasswordIsToldAndCanBeSetRight)
}

func testClusterWrongPasswordIsToldAndCanBeSetRight(t *testing.T, e engine) {
	n := newNode(t, e, e.address(), time.Minute)
	right := n.config
	const wrong = "not-the-password-at-all"
	t.Setenv("WRONG_PASSWORD", wrong)
	n.config = strings.Replace(right, "{env.STORE_PASSWORD}", "{env.WRONG_PASSWORD}", 1)
	n.run(t)
	wantStatus(t, get(t, n.urlOf("PORT3", "/")), 200)
	wantStatus(t, bearer(t, n.URL("/"), "token"), 503)
	s := n.status(t)
	for _, says := range e.wrongPassword() {
		if !strings.Contains(s.List.Cause, says) {
			t.Errorf("the status says %q", s.List.Cause)
		}
		if !strings.Contains(n.log(t), says) {
			t.Errorf("the log doesn't say %q", says)
		}
	}
	if s.List.Fresh {
		t.Error("the list is fresh")
	}
	status, _ := n.tryRevoke(http.DefaultClient, "early")
	if status != 503 {
		t.Errorf("status %d", status)
	}

	// A reload with another password, without a restart, takes everything along.
	r, err := http.NewRequest(http.MethodPost, n.urlOf("ADMIN", "/load"), bytes.NewBufferString(n.fill(right)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	wantStatus(t, do(t, r), 200)
	http.DefaultClient.CloseIdleConnections()
	n.awaitFresh(t)
	wantStatus(t, bearer(t, n.URL("/"), "token"), 200)
	wantStatus(t, bearer(t, n.URL("/"), "early"), 401)
	n.mustRevoke(t, "token")
	other := newNode(t, e, e.address(), time.Minute)
	other.run(t)
	other.awaitFresh(t)
	for _, token := range []string{"token", "early"} {
		becomes(t, "the other node has "+token, func() bool { return bearer(t, other.URL("/"), token).status == 401 })
	}
	seen := n.log(t) + get(t, n.urlOf("ADMIN", "/config/")).body + get(t, n.urlOf("ADMIN", "/token_revocation/status")).body
	for _, secret := range []string{e.password(), wrong} {
		if strings.Contains(seen, secret) {
			t.Error("a password can be seen")
		}
	}
}
