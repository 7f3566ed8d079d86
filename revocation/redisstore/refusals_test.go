package redisstore

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// failures runs everything that uses the server, and returns the errors.
func failures(s *Store) map[string]error {
	_, _, loaded := load(s)
	_, beaten := s.Beat(background, revocation.Beat{Node: "a"})
	return map[string]error{"Append": s.Append(background, newBatch("a", 1)), "Load": loaded, "Beat": beaten}
}

// TestRefusals checks that every mistake gets an error that says what to do, and that the
// store works once the mistake is put right.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		break_ func(t *testing.T, sv *server, o *Options)
		kind   error
		words  []string
		mend   func(t *testing.T, sv *server)
	}{
		"no password": {
			args:  []string{"--requirepass", secret},
			words: []string{"NOAUTH", "set one"},
		},
		"wrong password": {
			args:   []string{"--requirepass", "another"},
			break_: func(_ *testing.T, _ *server, o *Options) { o.Password = secret },
			words:  []string{"WRONGPASS", "password is wrong"},
		},
		"unknown user": {
			break_: func(_ *testing.T, _ *server, o *Options) { o.Username, o.Password = "nobody", secret },
			words:  []string{"WRONGPASS", "user name"},
		},
		"a user without rights": {
			break_: func(t *testing.T, sv *server, o *Options) {
				sv.do(t, "ACL", "SETUSER", "caddy", "on", ">"+secret, "~*", "+@connection")
				o.Username, o.Password = "caddy", secret
			},
			words: []string{"+@scripting"},
			mend: func(t *testing.T, sv *server) {
				sv.do(t, "ACL", "SETUSER", "caddy", "+@read", "+@write", "+@scripting", "+@connection", "+info", "+wait", "+time", "+config|get")
			},
		},
		"a user of other keys": {
			break_: func(t *testing.T, sv *server, o *Options) {
				sv.do(t, "ACL", "SETUSER", "caddy", "on", ">"+secret, "~other:*", "+@all")
				o.Username, o.Password = "caddy", secret
			},
			words: []string{"ACL user lacks a right", "~{prefix}:*"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "ACL", "SETUSER", "caddy", "~{token_revocation}:*") },
		},
		"no such database": {
			break_: func(_ *testing.T, _ *server, o *Options) { o.DB = 99 },
			words:  []string{"database 99", "setting databases"},
		},
		"a replica": {
			args:  []string{"--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"},
			kind:  revocation.ErrStoreReadOnly,
			words: []string{"replica", "name the master"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "REPLICAOF", "NO", "ONE") },
		},
		"a server that evicts": {
			args:  []string{"--maxmemory-policy", "allkeys-lru"},
			words: []string{"allkeys-lru", "CONFIG SET maxmemory-policy noeviction"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction") },
		},
		"a server that writes nothing": {
			args:  []string{"--appendonly", "no"},
			words: []string{"CONFIG SET appendonly yes"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "CONFIG", "SET", "appendonly", "yes") },
		},
		"a server that doesn't wait for its disk": {
			args:  []string{"--appendfsync", "no"},
			words: []string{"CONFIG SET appendfsync always"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "CONFIG", "SET", "appendfsync", "always") },
		},
		"a server that doesn't wait while it rewrites": {
			args:  []string{"--no-appendfsync-on-rewrite", "yes"},
			words: []string{"CONFIG SET no-appendfsync-on-rewrite no"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "CONFIG", "SET", "no-appendfsync-on-rewrite", "no") },
		},
		"too few replicas": {
			args:  []string{"--min-replicas-to-write", "1"},
			kind:  revocation.ErrStoreReadOnly,
			words: []string{"NOREPLICAS", "min-replicas-to-write"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "CONFIG", "SET", "min-replicas-to-write", "0") },
		},
		"a newer schema": {
			break_: func(t *testing.T, sv *server, _ *Options) {
				sv.do(t, "HSET", "{token_revocation}:meta", "schema", "2", "epoch", "e", "seq", "0")
			},
			kind:  revocation.ErrStoreVersion,
			words: []string{"schema 2", "update every node"},
		},
		"an unknown hash": {
			break_: func(t *testing.T, sv *server, _ *Options) { sv.do(t, "HSET", "{token_revocation}:meta", "a", "b") },
			kind:   revocation.ErrStoreVersion,
			words:  []string{"schema none", "another key prefix"},
		},
		"meta of another type": {
			break_: func(t *testing.T, sv *server, _ *Options) { sv.do(t, "SET", "{token_revocation}:meta", "a") },
			words:  []string{"WRONGTYPE", "another key prefix"},
			mend:   func(t *testing.T, sv *server) { sv.do(t, "DEL", "{token_revocation}:meta") },
		},
		"a stream of another type": {
			break_: func(t *testing.T, sv *server, o *Options) {
				appendTo(t, open(t, *o), newBatch("before", 1)...)
				sv.do(t, "RENAME", "{token_revocation}:log:2h", "kept")
				sv.do(t, "SET", "{token_revocation}:log:2h", "a")
			},
			words: []string{"WRONGTYPE", "another key prefix"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "RENAME", "kept", "{token_revocation}:log:2h") },
		},
		"streams without meta": {
			break_: func(t *testing.T, sv *server, o *Options) {
				appendTo(t, open(t, *o), newBatch("before", 1)...)
				sv.do(t, "RENAME", "{token_revocation}:meta", "kept")
			},
			kind:  revocation.ErrStoreCorrupt,
			words: []string{"{token_revocation}:meta is gone", "delete all keys"},
			mend:  func(t *testing.T, sv *server) { sv.do(t, "RENAME", "kept", "{token_revocation}:meta") },
		},
		"a damaged meta": {
			break_: func(t *testing.T, sv *server, o *Options) {
				appendTo(t, open(t, *o), newBatch("before", 1)...)
				sv.do(t, "HSET", "{token_revocation}:meta", "chain.1", "x")
			},
			kind:  revocation.ErrStoreCorrupt,
			words: []string{"fields that don't fit", "delete all keys"},
		},
		"a cluster's node": {
			args:  []string{"--cluster-enabled", "yes"},
			words: []string{"CLUSTERDOWN", "CLUSTER INFO"},
		},
		"cluster mode for a single server": {
			break_: func(_ *testing.T, _ *server, o *Options) { o.Cluster = true },
			words:  []string{"cluster"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sv := startServer(t, test.args...)
			opts := sv.options()
			if test.break_ != nil {
				test.break_(t, sv, &opts)
			}
			s := open(t, opts)
			for what, err := range failures(s) {
				switch {
				case name == "too few replicas" && what == "Load", name == "a damaged meta" && what == "Append":
					continue // what is written last tells
				case name == "a stream of another type" && what == "Beat":
					continue
				}
				wantWords(t, what, err, append([]string{sv.addr}, test.words...)...)
				if test.kind != nil {
					wantErrorIs(t, what, err, test.kind)
				}
			}
			if test.mend != nil {
				test.mend(t, sv)
				eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("b", 1)) == nil })
				mustLoad(t, s)
			}
		})
	}
}

// TestFull fills the server's memory. Reading, removing what has expired and saying that
// one lives go on as far as they need no memory, and appending once there is room.
func TestFull(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	expired := newBatch("expired", 10)
	for i := range expired {
		expired[i].Expires = time.Now().Add(-time.Hour).Truncate(time.Second)
	}
	appendTo(t, s, expired...)
	appendTo(t, s, newBatch("before", 10)...)
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	sv.do(t, "CONFIG", "SET", "maxmemory", "1mb")
	for range 3 {
		err := s.Append(background, newBatch("refused", 10))
		wantErrorIs(t, "Append", err, revocation.ErrStoreFull)
		wantWords(t, "Append", err, "maxmemory")
	}
	mustLoad(t, s)
	if n, err := s.Prune(background, time.Now()); err != nil || n != 10 {
		t.Errorf("Prune of a full store: %d, %v", n, err)
	}
	if _, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p}); err != nil {
		t.Errorf("Beat: %v", err)
	}
	sv.do(t, "CONFIG", "SET", "maxmemory", "0")
	appendTo(t, s, newBatch("after", 10)...)
	eventually(t, "what came after is followed", func() bool { return len(f.Got()) == 10 })
}

func TestUnsafe(t *testing.T) {
	var log lines
	sv := startServer(t, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
	opts := sv.options()
	opts.UnsafeDurability, opts.Logger = true, log.Logger()
	s := open(t, opts)
	wantDurability(t, s, "")
	appendTo(t, s, newBatch("a", 1)...)
	wantDurability(t, s, DurabilityUnsafe)
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1: %s", n, log.String())
	}
}

func wantDurability(t *testing.T, s *Store, want string) {
	t.Helper()
	if got := s.Durability(); got != want {
		t.Errorf("Durability is %q, want %q", got, want)
	}
}

func TestEverySecond(t *testing.T) {
	var log lines
	sv := startServer(t, "--appendfsync", "everysec")
	opts := sv.options()
	opts.Logger = log.Logger()
	s := open(t, opts)
	appendTo(t, s, newBatch("a", 1)...)
	wantDurability(t, s, DurabilityEverySecond)
	if !strings.Contains(log.String(), "CONFIG SET appendfsync always") {
		t.Errorf("the log doesn't say what to do: %s", log.String())
	}
	// It is noticed without a new connection, though not at once.
	sv.do(t, "CONFIG", "SET", "appendfsync", "always")
	s.nextInspect.Store(0)
	if _, err := s.Beat(background, revocation.Beat{Node: "a"}); err != nil {
		t.Fatal(err)
	}
	wantDurability(t, s, DurabilityVerified)
	sv.do(t, "CONFIG", "SET", "maxmemory-policy", "volatile-lru")
	s.nextInspect.Store(0)
	for range 2 {
		_, err := s.Beat(background, revocation.Beat{Node: "a"})
		wantWords(t, "Beat", err, "volatile-lru")
		wantWords(t, "Append", s.Append(background, newBatch("b", 1)), "volatile-lru")
	}
	sv.do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	appendTo(t, s, newBatch("c", 1)...)
}

// TestHidden uses a server that keeps its configuration to itself, as services do.
func TestHidden(t *testing.T) {
	for name, args := range map[string][]string{
		"appends":         nil,
		"doesn't tell it": {"--appendonly", "no"},
		"evicts":          {"--maxmemory-policy", "allkeys-lfu"},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			sv := startServer(t, append(args, "--rename-command", "CONFIG", "")...)
			opts := sv.options()
			opts.Logger = log.Logger()
			s := open(t, opts)
			err := s.Append(background, newBatch("a", 1))
			if name == "evicts" {
				wantWords(t, "Append", err, "allkeys-lfu")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantDurability(t, s, DurabilityUnverified)
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("%d warnings, want 1: %s", n, log.String())
			}
		})
	}
}

// TestAway begins without a server, which then comes, stops answering, and goes on.
func TestAway(t *testing.T) {
	sv := newServer(t)
	opts := sv.options()
	opts.Timeout = 300 * time.Millisecond
	s := open(t, opts)
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr, "can't be reached")
	}
	sv.start(t)
	eventually(t, "the store works", func() bool { return s.Append(background, newBatch("a", 1)) == nil })
	sv.pause()
	defer sv.resume()
	start := time.Now()
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr, "doesn't answer within 300ms")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("three errors took %s", took)
	}
	f := open(t, opts)
	start = time.Now()
	_ = f.Append(background, newBatch("b", 1))
	if f.Close(); time.Since(start) > 3*time.Second {
		t.Errorf("Close took %s", time.Since(start))
	}
	sv.resume()
	eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("c", 1)) == nil })
}

// TestAServerThatSaysNothingIsNotFollowed stops a server while entries are awaited. Its
// connection stays, and the client's own limit for it is ten seconds more than the server's.
func TestAServerThatSaysNothingIsNotFollowed(t *testing.T) {
	sv := startServer(t)
	opts := sv.options()
	opts.Timeout = 300 * time.Millisecond
	s := open(t, opts)
	s.block = 200 * time.Millisecond
	appendTo(t, s, newBatch("a", 1)...)
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	appendTo(t, s, newBatch("b", 1)...)
	eventually(t, "it is followed", func() bool { return len(f.Got()) == 1 })
	sv.pause()
	defer sv.resume()
	start := time.Now()
	wantWords(t, "Follow", f.Wait(t), sv.addr, "doesn't answer within 300ms")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it is followed for %s", took)
	}
}

func TestOptions(t *testing.T) {
	for want, opts := range map[string]Options{
		"host:port":         {},
		"several addresses": {Addrs: []string{"a:1", "b:1"}},
		"not both":          {Addrs: []string{"a:1"}, Cluster: true, SentinelMaster: "m"},
		"no database but 0": {Addrs: []string{"a:1"}, Cluster: true, DB: 1},
		"braces":            {Addrs: []string{"a:1"}, Prefix: "{a}"},
		"negative":          {Addrs: []string{"a:1"}, DB: -1},
	} {
		_, err := Open(background, opts)
		wantWords(t, "Open", err, want)
	}
}

// TestVersion asks for the version of a server that is too old, by what it would say.
func TestVersion(t *testing.T) {
	s := open(t, Options{Addrs: []string{"127.0.0.1:1"}})
	for version, ok := range map[string]bool{"6.0.16": false, "5.0.14": false, "6.2.0": true, "7.0.15": true, "8.0.1": true, "255.255.255": true, "unstable": true, "": true} {
		err := s.inspectServer(map[string]string{"redis_version": version})
		if (err == nil) != ok {
			t.Errorf("version %q: %v", version, err)
		}
		if !ok {
			wantErrorIs(t, version, err, revocation.ErrStoreVersion)
		}
	}
}

// TestSecret looks for the password in everything that the store shows.
func TestSecret(t *testing.T) {
	var log lines
	sv := startServer(t, "--requirepass", secret)
	opts := sv.options()
	opts.Password, opts.Logger = secret, log.Logger()
	s := open(t, opts)
	appendTo(t, s, newBatch("a", 1)...)
	sv.kill()
	wantWords(t, "Append", s.Append(background, newBatch("a", 1)), filepath.Base(sv.addr))
	if strings.Contains(log.String()+s.name, secret) {
		t.Error("the password is shown")
	}
}
