package natsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestRefusals checks that every mistake gets an error that says what to do, and that the
// store works once the mistake is put right.
func TestRefusals(t *testing.T) {
	// A stream that is there with another configuration.
	stream := func(nodes bool, change func(c *jetstream.StreamConfig)) func(t *testing.T, sv *server, o *Options) {
		return func(t *testing.T, sv *server, o *Options) {
			s := openStore(t, *o)
			c := s.logConfig(1)
			if nodes {
				c = s.nodesConfig(1)
			}
			change(&c)
			if _, err := sv.admin(t).CreateStream(background, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	remake := func(t *testing.T, sv *server, s *Store) {
		js := sv.admin(t)
		_ = js.DeleteStream(background, s.streams.log)
		_ = js.DeleteStream(background, s.streams.nodes)
	}
	edit := func(nodes bool) func(t *testing.T, sv *server, s *Store) {
		return func(t *testing.T, sv *server, s *Store) {
			c := s.logConfig(1)
			if nodes {
				c = s.nodesConfig(1)
			}
			if _, err := sv.admin(t).UpdateStream(background, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	users := fmt.Sprintf(`authorization { user: caddy, password: %q }`, secret)
	for name, test := range map[string]struct {
		lines  []string
		break_ func(t *testing.T, sv *server, o *Options)
		kind   error
		words  []string
		unsafe bool // unsafe_durability accepts it
		mend   func(t *testing.T, sv *server, s *Store)
	}{
		"no password": {
			lines: []string{users},
			words: []string{"Authorization Violation", "is missing"},
		},
		"wrong password": {
			lines:  []string{`authorization { user: caddy, password: "another" }`},
			break_: func(_ *testing.T, _ *server, o *Options) { o.Username, o.Password = "caddy", secret },
			words:  []string{"Authorization Violation", "is wrong"},
		},
		"wrong token": {
			lines:  []string{`authorization { token: "another" }`},
			break_: func(_ *testing.T, _ *server, o *Options) { o.Token = secret },
			words:  []string{"Authorization Violation", "the token"},
		},
		"wrong NKey": {
			lines: []string{"authorization { users: [{ nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }] }"},
			break_: func(t *testing.T, _ *server, o *Options) {
				key, err := nkeys.CreateUser()
				if err != nil {
					t.Fatal(err)
				}
				o.Seed, _ = key.Seed()
			},
			words: []string{"Authorization Violation", "the NKey"},
		},
		"an NKey for a server of passwords": {
			lines: []string{users},
			break_: func(t *testing.T, _ *server, o *Options) {
				key, err := nkeys.CreateUser()
				if err != nil {
					t.Fatal(err)
				}
				o.Seed, _ = key.Seed()
			},
			words: []string{"nkeys not supported", "another way in"},
		},
		"a user without permissions": {
			lines: []string{fmt.Sprintf(`authorization { users: [{ user: caddy, password: %q, permissions { publish: ["$JS.API.STREAM.>"], subscribe: ["_INBOX.>"] } }] }`, secret)},
			break_: func(_ *testing.T, _ *server, o *Options) {
				o.Username, o.Password = "caddy", secret
			},
			words: []string{"lacks a permission", "docs/clusters-nats.md"},
		},
		"an account without JetStream": {
			lines:  []string{fmt.Sprintf(`accounts { A { users: [{ user: caddy, password: %q }] } }`, secret)},
			break_: func(_ *testing.T, _ *server, o *Options) { o.Username, o.Password = "caddy", secret },
			words:  []string{"not enabled for account", "jetstream: enabled"},
		},
		"an account with too little room": {
			lines:  []string{fmt.Sprintf(`accounts { A { jetstream { max_streams: 1 }, users: [{ user: caddy, password: %q }] } }`, secret)},
			break_: func(_ *testing.T, _ *server, o *Options) { o.Username, o.Password = "caddy", secret },
			kind:   revocation.ErrStoreFull,
			words:  []string{"maximum number of streams", "raise"},
		},
		"replicas without a cluster": {
			break_: func(_ *testing.T, _ *server, o *Options) { o.Replicas = 3 },
			words:  []string{"replicas > 1 not supported", "set replicas to 1"},
		},
		"streams that must be there": {
			break_: func(_ *testing.T, _ *server, o *Options) { o.NoCreate = true },
			words:  []string{"no stream token_revocation", "create is off"},
			mend: func(t *testing.T, sv *server, s *Store) {
				js := sv.admin(t)
				for _, c := range []jetstream.StreamConfig{s.logConfig(1), s.nodesConfig(1)} {
					c.Metadata = nil
					if _, err := js.CreateStream(background, c); err != nil {
						t.Fatal(err)
					}
				}
			},
		},
		"subjects of another stream": {
			break_: func(t *testing.T, sv *server, _ *Options) {
				if _, err := sv.admin(t).CreateStream(background, jetstream.StreamConfig{Name: "all", Subjects: []string{"token_revocation.>"}}); err != nil {
					t.Fatal(err)
				}
			},
			words: []string{"subjects overlap", "another prefix"},
			mend:  func(t *testing.T, sv *server, _ *Store) { _ = sv.admin(t).DeleteStream(background, "all") },
		},
		"a newer schema": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.Metadata[metaSchema] = "2" }),
			kind:   revocation.ErrStoreVersion,
			words:  []string{"schema 2", "update every node"},
			mend:   edit(false),
		},
		"a mirror": {
			break_: func(t *testing.T, sv *server, o *Options) {
				js := sv.admin(t)
				if _, err := js.CreateStream(background, jetstream.StreamConfig{Name: "origin", Subjects: []string{"origin"}}); err != nil {
					t.Fatal(err)
				}
				stream(false, func(c *jetstream.StreamConfig) {
					c.Subjects, c.Mirror, c.Discard = nil, &jetstream.StreamSource{Name: "origin"}, jetstream.DiscardOld
				})(t, sv, o)
			},
			kind:  revocation.ErrStoreReadOnly,
			words: []string{"is a mirror"},
			mend:  remake,
		},
		"a sealed stream": {
			break_: func(t *testing.T, sv *server, o *Options) {
				s := openStore(t, *o)
				appendTo(t, s, newBatch("a", 1)...)
				c := s.logConfig(1)
				c.Sealed = true
				if _, err := sv.admin(t).UpdateStream(background, c); err != nil {
					t.Fatal(err)
				}
			},
			kind:  revocation.ErrStoreReadOnly,
			words: []string{"is sealed"},
			mend:  remake,
		},
		"other subjects": {
			break_: stream(false, func(c *jetstream.StreamConfig) {
				c.Subjects = []string{"token_revocation.log", "token_revocation.part"}
			}),
			words: []string{"lacks the subject token_revocation.head.*", "--subjects token_revocation.log,"},
			mend:  edit(false),
		},
		"no acknowledgements": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.NoAck = true }),
			words:  []string{"no_ack", "nats stream edit token_revocation --ack"},
			mend:   edit(false),
		},
		"no direct access": {
			break_: stream(true, func(c *jetstream.StreamConfig) { c.AllowDirect = false }),
			words:  []string{"nats stream edit token_revocation_nodes --allow-direct"},
			mend:   edit(true),
		},
		"messages that don't expire one by one": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }),
			words:  []string{"nats stream edit token_revocation --allow-msg-ttl"},
			mend:   edit(false),
		},
		"markers of what has expired": {
			break_: stream(false, func(c *jetstream.StreamConfig) {
				c.SubjectDeleteMarkerTTL, c.AllowRollup, c.DenyPurge = time.Minute, true, false
			}),
			words: []string{"subject_delete_marker_ttl"},
			mend:  remake,
		},
		"several beats of each node": {
			break_: stream(true, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 }),
			words:  []string{"nats stream edit token_revocation_nodes --max-msgs-per-subject=1"},
			mend:   edit(true),
		},
		"memory": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }),
			words:  []string{"the stream token_revocation is in memory", "delete the stream"},
			unsafe: true,
			mend:   remake,
		},
		"nodes in memory": {
			break_: stream(true, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }),
			words:  []string{"the stream token_revocation_nodes is in memory"},
			unsafe: true,
			mend:   remake,
		},
		"asynchronous writes": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }),
			words:  []string{"persist_mode async"},
			unsafe: true,
			mend:   remake,
		},
		"a work queue": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }),
			words:  []string{"retention interest"},
			mend:   remake,
		},
		"an age": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }),
			words:  []string{"1h0m0s (max_age)", "nats stream edit token_revocation --max-age=0"},
			unsafe: true,
			mend:   edit(false),
		},
		"old messages make room": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardOld, 1<<20 }),
			words:  []string{"discard old", "nats stream edit token_revocation --discard=new"},
			unsafe: true,
			mend:   edit(false),
		},
		"a number of messages": {
			break_: stream(false, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 100 }),
			words:  []string{"keeps 100 messages only", "nats stream edit token_revocation --max-msgs-per-subject=-1"},
			unsafe: true,
			mend:   edit(false),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sv := startServer(t, test.lines...)
			opts := sv.options()
			if test.break_ != nil {
				test.break_(t, sv, &opts)
			}
			s := openStore(t, opts)
			for what, err := range failures(s) {
				if test.lines != nil && name == "a user without permissions" && what == "Load" {
					continue // it may read
				}
				wantWords(t, what, err, append([]string{sv.addr}, test.words...)...)
				if test.kind != nil {
					wantErrorIs(t, what, err, test.kind)
				}
				if says := strings.Contains(err.Error(), "unsafe_durability"); says != test.unsafe && name != "a work queue" {
					t.Errorf("%s: %v", what, err)
				}
			}
			if test.unsafe {
				opts.UnsafeDurability = true
				var log lines
				opts.Logger = log.Logger()
				s := openStore(t, opts)
				appendTo(t, s, newBatch("a", 1)...)
				wantDurability(t, s, DurabilityUnsafe)
				if n := strings.Count(log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings, want 1: %s", n, log.String())
				}
				opts.UnsafeDurability = false
			}
			if test.mend != nil {
				test.mend(t, sv, s)
				eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("b", 1)) == nil })
				mustLoad(t, s)
			}
		})
	}
}

// TestLimitsThatKeep uses streams that somebody has made with limits that lose nothing.
func TestLimitsThatKeep(t *testing.T) {
	sv := startServer(t)
	js := sv.admin(t)
	opts := sv.options()
	opts.NoCreate = true
	s := openStore(t, opts)
	c := s.logConfig(1)
	c.Subjects, c.MaxBytes, c.MaxMsgs, c.MaxMsgSize, c.Metadata, c.DenyDelete, c.Compression = []string{"token_revocation.*", "token_revocation.head.>"}, 1<<20, 1000, 17000, nil, false, jetstream.S2Compression
	if _, err := js.CreateStream(background, c); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(background, s.nodesConfig(1)); err != nil {
		t.Fatal(err)
	}
	appendTo(t, s, newBatch("a", 1000)...) // in several messages
	if names, _ := mustLoad(t, s); len(names) != 1000 {
		t.Errorf("%d records are there, want 1000", len(names))
	}
	wantDurability(t, s, DurabilityStated)
	long := revocation.Record{ID: revocation.NewID(), Kind: revocation.Reinstatement, Expires: time.Now().Add(time.Hour), Reason: strings.Repeat("x", revocation.MaxNoteBytes)}
	for range revocation.MaxReinstates {
		long.Reinstates = append(long.Reinstates, revocation.NewID())
	}
	long.Actor, long.Source = long.Reason, long.Reason
	wantWords(t, "Append of what doesn't fit", s.Append(background, []revocation.Record{long}), "max_msg_size")
}

func wantDurability(t *testing.T, s *Store, want string) {
	t.Helper()
	if got := s.Durability(); got != want {
		t.Errorf("Durability is %q, want %q", got, want)
	}
}

func TestUnverified(t *testing.T) {
	var log lines
	opts := startServer(t).options()
	opts.SyncAlways, opts.Logger = false, log.Logger()
	s := openStore(t, opts)
	wantDurability(t, s, "")
	appendTo(t, s, newBatch("a", 1)...)
	wantDurability(t, s, DurabilityUnverified)
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "sync_interval: always") {
		t.Errorf("%d warnings, want one that says what to do: %s", n, log.String())
	}
}

// TestChangedWhileOpen changes a stream under a store that is connected.
func TestChangedWhileOpen(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	appendTo(t, s, newBatch("a", 1)...)
	c := s.logConfig(1)
	c.MaxAge = time.Hour
	if _, err := sv.admin(t).UpdateStream(background, c); err != nil {
		t.Fatal(err)
	}
	s.current.inspected = time.Now().Add(-inspectEvery)
	for range 2 {
		_, err := s.Beat(background, revocation.Beat{Node: "a"})
		wantWords(t, "Beat", err, "max_age")
	}
}

// TestNoJetStream has a server that has none, and one that isn't NATS.
func TestNoJetStream(t *testing.T) {
	sv := newServer(t)
	if err := os.WriteFile(sv.config, fmt.Appendf(nil, "listen: %q\nlog_file: %q\n", sv.addr, filepath.Join(sv.dir, "log")), 0o600); err != nil {
		t.Fatal(err)
	}
	sv.start(t)
	s := openStore(t, sv.options())
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr, "JetStream isn't enabled")
	}
}

func TestOptions(t *testing.T) {
	a := []string{"nats://a:1"}
	for want, opts := range map[string]Options{
		"name a server":                {},
		"is nats://host:port":          {Servers: []string{"a:1"}},
		"without a user":               {Servers: []string{"nats://u:" + secret + "@a:1"}},
		"nats://host:port, or tls":     {Servers: []string{"nats://a"}},
		"all be for WebSocket":         {Servers: []string{"nats://a:1", "ws://a:2"}},
		"only one of user":             {Servers: a, Username: "u", Token: secret},
		"needs a user name":            {Servers: a, Password: secret},
		"seed of a user's NKey":        {Servers: a, Seed: []byte(secret)},
		"file that nsc makes":          {Servers: a, Credentials: []byte(secret)},
		"letters, digits":              {Servers: a, Prefix: "a.b"},
		"from 1 to 5":                  {Servers: a, Replicas: 6},
		"the timeout must not be":      {Servers: a, Timeout: -1},
		"letters, digits, - and _, an": {Servers: a, Prefix: strings.Repeat("a", 201)},
	} {
		_, err := Open(background, opts)
		wantWords(t, "Open", err, want)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := account.Seed()
	_, err = Open(background, Options{Servers: a, Seed: seed})
	wantWords(t, "Open with an account's seed", err, "begins with SU")
}

func TestVersion(t *testing.T) {
	for version, ok := range map[string]bool{"2.10.29": false, "1.4.1": false, "2.9.0": false, "2.11.0": true, "2.15.3": true, "3.0.0": true, "unstable": true, "": true} {
		err := checkVersion(version)
		if (err == nil) != ok {
			t.Errorf("version %q: %v", version, err)
		}
		if !ok {
			wantErrorIs(t, version, err, revocation.ErrStoreVersion)
		}
	}
}

func TestCovers(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"a.b.c", "a.b.c"}: true, {"a.*", "a.b"}: true, {"a.>", "a.b.c"}: true, {">", "a"}: true, {"a.*", "a.*"}: true, {"a.>", "a.*"}: true,
		{"a", "a.b"}: false, {"a.b", "a"}: false, {"a.>", "a"}: false, {"a.b", "a.*"}: false, {"a.*", "a.b.c"}: false, {"b.>", "a.b"}: false,
	} {
		if covers(pair[0], pair[1]) != want {
			t.Errorf("covers%q is %v", pair, !want)
		}
	}
}

// TestSecret looks for what is secret in everything that the store shows.
func TestSecret(t *testing.T) {
	var log lines
	sv := startServer(t, fmt.Sprintf(`authorization { user: caddy, password: %q }`, secret))
	opts := sv.options()
	opts.Username, opts.Password, opts.Logger = "caddy", secret, log.Logger()
	s := openStore(t, opts)
	appendTo(t, s, newBatch("a", 1)...)
	sv.kill()
	wantWords(t, "Append", s.Append(background, newBatch("a", 1)), filepath.Base(sv.addr))
	if strings.Contains(log.String()+s.name, secret) {
		t.Error("the password is shown")
	}
}
