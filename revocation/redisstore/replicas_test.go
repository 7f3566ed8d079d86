package redisstore

import (
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestAttemptsWithoutReplicas: who tries again while replicas are away must not fill the
// server with repetitions.
func TestAttemptsWithoutReplicas(t *testing.T) {
	p := startPair(t)
	opts := p.master.options()
	opts.WaitReplicas, opts.Timeout = 1, 200*time.Millisecond
	s := open(t, opts)
	appendTo(t, s, newBatch("before", 1)...)
	p.replica.pause()
	defer p.replica.resume()
	again := newBatch("again", 1)
	for range 10 {
		wantWords(t, "Append without the replica", s.Append(background, again), "0 of its replicas")
	}
	names, _ := mustLoad(t, s)
	if n := len(names); n > 2 {
		t.Errorf("10 attempts left %d records of one", n-1)
	}
	p.replica.resume()
	eventually(t, "the replica is back", func() bool { return s.Append(background, again) == nil })
	p.waitSynced(t)
	replica := parseInfo(p.replica.do(t, "INFO", "replication").(string))
	if replica["role"] != "slave" {
		t.Fatalf("the replica is %s", replica["role"])
	}
	names, end := mustLoad(t, s)
	if n := len(names); n < 2 || n > 3 {
		t.Errorf("%d records are there", n)
	}
	if _, err := s.Beat(background, revocation.Beat{Node: "a", Applied: end}); err != nil {
		t.Fatal(err)
	}
}
