// Lists on a feed that does what a feed may: repeat, and bring things out of order.

package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// scrambled is a feed on whose way to the list everything comes several times and in
// another order, and to which some things are written twice.
type scrambled struct {
	revocation.Feed
}

func (s scrambled) Append(ctx context.Context, records []revocation.Record) error {
	if rand.N(4) == 0 {
		if err := s.Feed.Append(ctx, records); err != nil {
			return err
		}
	}
	return s.Feed.Append(ctx, records)
}

func (s scrambled) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	return s.Feed.Load(ctx, func(batch []revocation.Record) error { return apply(shuffled(batch, batch)) })
}

func (s scrambled) Follow(ctx context.Context, from revocation.Position, apply func([]revocation.Record, revocation.Position) error) error {
	const remembered = 30
	at := from
	var earlier []revocation.Record
	return s.Feed.Follow(ctx, from, func(batch []revocation.Record, next revocation.Position) error {
		all := shuffled(batch, batch, earlier)
		earlier = slices.Concat(earlier, batch)
		earlier = earlier[max(len(earlier)-remembered, 0):]
		// A part of it comes alone, with which nobody has come any further.
		part := rand.N(len(all))
		if part > 0 {
			if err := apply(all[:part], at); err != nil {
				return err
			}
			clear(all[:part]) // it was apply's until it returned
		}
		at = next
		return apply(all[part:], next)
	})
}

// Prune implements revocation.Pruner.
func (s scrambled) Prune(ctx context.Context, before time.Time) (int, error) {
	if p, ok := s.Feed.(revocation.Pruner); ok {
		return p.Prune(ctx, before)
	}
	return 0, nil
}

func shuffled(batches ...[]revocation.Record) []revocation.Record {
	all := slices.Concat(batches...)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

const listIssuer = "https://idp.example.com"

// issuedAt is when the tokens of these tests were issued.
var issuedAt = time.Now().Add(-time.Hour)

// tokenReader reads a token whose subject is its name.
type tokenReader struct{}

func (tokenReader) ReadFacts(token string) *revocation.Facts {
	return &revocation.Facts{
		Fingerprint: sha256.Sum256([]byte(token)), Issuers: []string{listIssuer}, IssuedAt: issuedAt.Unix(),
		Claims: []revocation.Claim{{Role: revocation.RoleSubject, Value: token}},
	}
}

// listNode is a list on a feed.
type listNode struct {
	list    *revocation.List
	checker *revocation.Checker
}

func openNode(feed revocation.Feed) (*listNode, error) {
	l, err := revocation.Open(background, feed, revocation.Options{CommitTimeout: patience, MaxStaleness: time.Minute})
	if err != nil {
		return nil, err
	}
	c, err := revocation.NewChecker(l, tokenReader{}, 1<<20)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &listNode{l, c}, nil
}

func (n *listNode) close() error {
	n.checker.Close()
	return n.list.Close()
}

// ledger is what all nodes were told together.
type ledger struct {
	mu        sync.Mutex
	revoked   []told
	mistakes  []revocation.ID // of those, what may be taken back
	cancelled map[revocation.ID]bool
}

type told struct {
	token  string
	record revocation.Record
}

// hits reports whether a record rejects its token.
func (o *told) hits() bool {
	return o.record.Kind == revocation.Block || !issuedAt.After(o.record.Cutoff)
}

// live returns the ids of what wasn't taken back and hasn't expired, and the tokens that
// are revoked.
func (b *ledger) live(now time.Time) (ids map[revocation.ID]bool, tokens map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids, tokens = map[revocation.ID]bool{}, map[string]bool{}
	for i := range b.revoked {
		o := &b.revoked[i]
		if !b.cancelled[o.record.ID] && o.record.Expires.After(now) {
			ids[o.record.ID] = true
			tokens[o.token] = tokens[o.token] || o.hits()
		}
	}
	return ids, tokens
}

func (b *ledger) mistake() (id revocation.ID, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mistakes) == 0 {
		return id, false
	}
	return b.mistakes[rand.N(len(b.mistakes))], true
}

// briefest is for how long a record is kept at least; many are for an hour.
const briefest = 2 * time.Second

const listTokens = 12 // few: what is revoked and taken back meets under the same keys

func listToken(n int) string { return fmt.Sprintf("token %d", n) }

// step does one thing at a node.
func (b *ledger) step(n *listNode) error {
	if rand.N(4) == 0 {
		id, ok := b.mistake()
		if !ok {
			return nil
		}
		_, err := n.list.Reinstate(background, revocation.Note{Source: "admin", Actor: "operator"}, id)
		if errors.Is(err, revocation.ErrUnknownRevocation) {
			return nil // it hasn't come here, was taken back or has expired
		}
		if err == nil {
			b.mu.Lock()
			b.cancelled[id] = true
			b.mu.Unlock()
		}
		return err
	}
	token := listToken(rand.N(listTokens))
	r := newRecord("", time.Hour)
	r.Selector = revocation.SelectToken(tokenReader{}.ReadFacts(token).Fingerprint)
	mistaken, brief := rand.N(2) == 0, rand.N(4) == 0
	if brief {
		r.Expires = time.Now().Add(briefest + rand.N(briefest)).UTC().Truncate(time.Second)
	}
	if rand.N(3) == 0 {
		r.Kind, r.Cutoff = revocation.IssuedBefore, issuedAt.Add(time.Duration(rand.N(200)-100)*time.Second).UTC().Truncate(time.Second)
		r.Selector = revocation.Selector{Issuer: listIssuer, Claims: []revocation.Claim{{Role: revocation.RoleSubject, Value: token}}}
	}
	o := told{token, r}
	if err := n.list.Revoke(background, r); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revoked = append(b.revoked, o)
	switch {
	case mistaken:
		b.mistakes = append(b.mistakes, r.ID)
	case !brief && o.hits() && n.checker.Check(token).State != revocation.Revoked:
		return fmt.Errorf("%s passes where it was just revoked", token)
	}
	return nil
}

// differs says in what a node's list isn't what it must be.
func (b *ledger) differs(n *listNode) string {
	if n.list.Stale() {
		return fmt.Sprintf("it isn't fresh: %v", n.list.Freshness().Cause)
	}
	ids, tokens := b.live(time.Now())
	for i := range listTokens {
		token := listToken(i)
		if got := n.checker.Check(token).State; (got == revocation.Revoked) != tokens[token] {
			return fmt.Sprintf("%s is %s; it must be revoked: %v", token, got, tokens[token])
		}
	}
	page, err := n.list.Search(background, revocation.Query{Limit: 1 << 20})
	if err != nil {
		return err.Error()
	}
	if len(page.Revocations) != len(ids) {
		return fmt.Sprintf("it has %d revocations, and must have %d", len(page.Revocations), len(ids))
	}
	for i := range page.Revocations {
		if id := page.Revocations[i].ID; !ids[id] {
			return fmt.Sprintf("revocation %s isn't one that counts", id)
		}
	}
	return ""
}

// wantAgreement waits until a list is what it must be.
func (b *ledger) wantAgreement(t *testing.T, what string, n *listNode) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		why := b.differs(n)
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, why)
		}
	}
}

// testLists has nodes revoke and take back while everything comes twice and out of order,
// and while they are started anew, knowing nothing. In the end all have the same list, and
// so has one that only reads.
func testLists(t *testing.T, open Opener) {
	const nodes, lives, steps = 3, 3, 30
	var feeds [nodes][lives]revocation.Feed
	for i := range feeds {
		for j := range feeds[i] {
			feeds[i][j] = openFeed(t, open)
		}
	}
	b := &ledger{cancelled: map[revocation.ID]bool{}}
	var last [nodes]*listNode
	var running sync.WaitGroup
	for i := range feeds {
		running.Go(func() {
			for j, feed := range feeds[i] {
				n, err := openNode(scrambled{feed})
				for k := 0; k < steps && err == nil; k++ {
					err = b.step(n)
				}
				if err == nil && j < lives-1 {
					err = n.close()
				}
				if last[i] = n; err != nil {
					t.Errorf("node %d in its life %d: %v", i, j, err)
					return
				}
			}
		})
	}
	running.Wait()
	for _, n := range last {
		if n != nil {
			t.Cleanup(func() { _ = n.close() })
		}
	}
	if t.Failed() {
		return
	}
	reader, err := openNode(openFeed(t, open))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	agree := func(when string) {
		t.Helper()
		for i, n := range last {
			b.wantAgreement(t, fmt.Sprintf("%s, node %d", when, i), n)
		}
		b.wantAgreement(t, when+", a node that only reads", reader)
		ids, _ := b.live(time.Now())
		t.Logf("%s: %d revocations, %d of them taken back, %d count", when, len(b.revoked), len(b.cancelled), len(ids))
	}
	agree("at first")
	time.Sleep(2 * briefest)
	agree("when some have expired")
}
