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
	nodes := startCluster(t, startRedis(t), time.Minute)
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
	if s.Store.Durability != "verified" || s.Cluster.Applied == "" || s.Cluster.Replica == inMemory || s.Cluster.MaxStaleness != "1m0s" {
		t.Errorf("%+v, %+v", s.Store, s.Cluster)
	}
	nodes[2].wantLag(t, 0, 10)
	out, err := exec.Command(buildCaddy(t), "tokens", "status", "--address", fmt.Sprint("localhost:", nodes[1].ports["ADMIN"])).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "All is well.\n") || strings.Count(string(out), "  yes    0 entries") != 3 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestClusterLosesNothingAcknowledgedWhenTheEngineIsKilled(t *testing.T) {
	redis := startRedis(t)
	const staleness = 10 * time.Second
	nodes := startCluster(t, redis, staleness)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	client := &http.Client{Timeout: 15 * time.Second}
	var mu sync.Mutex
	var acknowledged []string
	refused := 0
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for writer := range 9 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				token := fmt.Sprintf("storm-%d-%d", writer, i)
				status, _ := nodes[writer%3].tryRevoke(client, token)
				mu.Lock()
				switch status {
				case 200:
					acknowledged = append(acknowledged, token)
				case 503:
					refused++
				default:
					t.Errorf("revoking: %d", status)
				}
				mu.Unlock()
			}
		})
	}
	for range rounds {
		time.Sleep(time.Duration(300+rand.IntN(300)) * time.Millisecond)
		redis.kill()
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		redis.start(t)
		time.Sleep(300 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if len(acknowledged) < 10*rounds {
		t.Errorf("only %d revocations were acknowledged", len(acknowledged))
	}

	// A node that lost its connection may lack what came last, for as long as it may be
	// stale, and not a moment longer.
	ended := time.Now()
	wantAll := func(nodes ...*node) {
		t.Helper()
		for _, n := range nodes {
			n.awaitFresh(t)
			becomes(t, "nothing is pending", func() bool { return n.status(t).List.Pending == 0 })
			for _, token := range acknowledged {
				for asked := time.Now(); ; asked = time.Now() {
					status := bearer(t, n.URL("/"), token).status
					if status == 401 {
						break
					}
					if status == 200 && asked.Sub(ended) > staleness || asked.Sub(ended) > time.Minute {
						t.Fatalf("%s is answered with %d, %s after its revocation", token, status, asked.Sub(ended))
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
		}
	}
	wantAll(nodes...)
	t.Logf("all nodes have everything %s after the storm", time.Since(ended).Round(time.Millisecond))
	ended = time.Time{} // from now on nobody may lack anything
	fourth := newNode(t, redis, staleness)
	fourth.run(t)
	wantAll(fourth)

	// An engine that has lost everything gets it back.
	redis.empty(t)
	wantAll(nodes...)
	fifth := newNode(t, redis, staleness)
	becomes(t, "the engine has everything again", func() bool {
		return strings.Contains(nodes[0].log(t)+nodes[1].log(t)+nodes[2].log(t)+fourth.log(t), "it has them again")
	})
	fifth.run(t)
	wantAll(fifth)
	t.Logf("%d acknowledged revocations, %d refused, none lost", len(acknowledged), refused)
}

func TestClusterNodesStartAndEnforceWhileTheEngineIsAway(t *testing.T) {
	redis := startRedis(t)
	const staleness = 2 * time.Second
	nodes := startCluster(t, redis, staleness)
	nodes[0].mustRevoke(t, "known")
	for _, n := range nodes {
		becomes(t, "the token is revoked everywhere", func() bool { return bearer(t, n.URL("/"), "known").status == 401 })
	}
	died := time.Now()
	redis.kill()

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

	redis.start(t)
	for _, n := range nodes {
		n.awaitFresh(t)
		wantStatus(t, bearer(t, n.URL("/"), "unknown"), 200)
		wantStatus(t, bearer(t, n.URL("/"), "known"), 401)
		becomes(t, "what was pending is revoked everywhere", func() bool { return bearer(t, n.URL("/"), "pending").status == 401 })
	}
}

func TestClusterNodeThatWasStoppedDoesNotAcceptWhatWasRevokedMeanwhile(t *testing.T) {
	redis := startRedis(t)
	const staleness = time.Second
	nodes := startCluster(t, redis, staleness)
	sleeper := nodes[2]
	for round := range 3 {
		token := fmt.Sprint("meanwhile-", round)
		wantStatus(t, bearer(t, sleeper.URL("/"), token), 200)
		if err := sleeper.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
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
		if err := sleeper.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
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
	if err := redis.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.awaitStale(t)
		n.wantStale(t, "meanwhile-0")
	}
	if err := redis.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.awaitFresh(t)
		wantStatus(t, bearer(t, n.URL("/"), "unknown"), 200)
	}
}

func TestClusterWrongPasswordIsToldAndCanBeSetRight(t *testing.T) {
	redis := startRedis(t)
	n := newNode(t, redis, time.Minute)
	right := n.config
	const wrong = "not-the-password-at-all"
	t.Setenv("WRONG_PASSWORD", wrong)
	n.config = strings.Replace(right, "{env.REDIS_PASSWORD}", "{env.WRONG_PASSWORD}", 1)
	n.run(t)
	wantStatus(t, get(t, n.urlOf("PORT3", "/")), 200)
	wantStatus(t, bearer(t, n.URL("/"), "token"), 503)
	s := n.status(t)
	for _, says := range []string{"redis 127.0.0.1:" + fmt.Sprint(redis.port), "password is wrong"} {
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
	other := newNode(t, redis, time.Minute)
	other.run(t)
	other.awaitFresh(t)
	for _, token := range []string{"token", "early"} {
		becomes(t, "the other node has "+token, func() bool { return bearer(t, other.URL("/"), token).status == 401 })
	}
	seen := n.log(t) + get(t, n.urlOf("ADMIN", "/config/")).body + get(t, n.urlOf("ADMIN", "/token_revocation/status")).body
	for _, secret := range []string{redisPassword, wrong} {
		if strings.Contains(seen, secret) {
			t.Error("a password can be seen")
		}
	}
}
