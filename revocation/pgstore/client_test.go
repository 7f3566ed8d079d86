// What the tests have in common that is about stores, not about servers.

package pgstore

import (
	"context"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/feedtest"
)

var background = context.Background()

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(background, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// What the tests of all such stores share.
var (
	eventually  = feedtest.Eventually
	newRecord   = feedtest.NewRecord
	newBatch    = feedtest.NewBatch
	wantErrorIs = feedtest.WantErrorIs
	wantWords   = feedtest.WantWords
)

const secret = feedtest.Secret

type lines = feedtest.Lines

func appendTo(t testing.TB, s *Store, records ...revocation.Record) {
	t.Helper()
	feedtest.AppendTo(t, s, records...)
}

func load(s *Store) ([]string, revocation.Position, error) { return feedtest.Load(s) }

func mustLoad(t testing.TB, s *Store) ([]string, revocation.Position) {
	t.Helper()
	return feedtest.MustLoad(t, s)
}

func follow(t testing.TB, s *Store, from revocation.Position) *feedtest.Follower {
	t.Helper()
	return feedtest.Follow(t, s, from)
}
