package natsstore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestExpiry has messages expire under followers, between the parts of Appends too, and
// looks at what becomes of places whose messages are gone.
func TestExpiry(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	s.margin, s.markerLife = 0, 4*time.Second
	_, empty := mustLoad(t, s)
	waiting := follow(t, s, empty)
	var want, live []string
	for i := range 3 {
		for j, batch := range [][]revocation.Record{
			{newRecord(fmt.Sprintf("gone %d", i), 3*time.Second)},
			{newRecord(fmt.Sprintf("live %d", i), time.Hour)},
			mixed(fmt.Sprintf("mixed %d", i)),
		} {
			if j == 2 {
				for k := range batch {
					if batch[k].Expires.Before(time.Now().Add(2 * time.Hour)) {
						batch[k].Expires = time.Now().Add(3 * time.Second).UTC().Truncate(time.Second)
					} else {
						live = append(live, nameOfRecord(&batch[k]))
					}
				}
			} else if j == 1 {
				live = append(live, nameOfRecord(&batch[0]))
			}
			appendTo(t, s, batch...)
			want = append(want, namesOf(batch)...)
		}
	}
	eventually(t, "everything is followed", func() bool { return slices.Equal(waiting.Got(), want) })
	eventually(t, "what has expired is gone", func() bool {
		names, _ := mustLoad(t, s)
		return slices.Equal(names, live)
	})
	late := follow(t, s, empty)
	eventually(t, "what remains is followed from the beginning", func() bool { return slices.Equal(late.Got(), live) })
	appendTo(t, s, newBatch("after", 1)...)
	eventually(t, "followers go on", func() bool {
		return slices.Contains(waiting.Got(), "after/0") && slices.Contains(late.Got(), "after/0")
	})

	// A place whose message expires is one as long as beats prove it.
	appendTo(t, s, newRecord("last", time.Second))
	eventually(t, "it is followed", func() bool { return slices.Contains(waiting.Got(), "last") })
	p := waiting.Position()
	number := uint64(0)
	beat := func() error {
		number++
		_, err := s.Beat(background, revocation.Beat{Node: "a", Number: number, Applied: p})
		return err
	}
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if err := beat(); err != nil {
			t.Fatal(err)
		}
	}
	if names, _ := mustLoad(t, s); slices.Contains(names, "last") {
		t.Fatal("the last message hasn't expired")
	}
	f := follow(t, s, p)
	appendTo(t, s, newBatch("then", 1)...)
	eventually(t, "it is followed from a message that is gone", func() bool { return slices.Equal(f.Got(), []string{"then/0"}) })
	// Another store can't know, and so can't this one when its marker has expired.
	other := openStore(t, sv.options())
	_, err := other.Beat(background, revocation.Beat{Node: "b", Applied: p})
	wantErrorIs(t, "another store's Beat", err, revocation.ErrFeedBroken)
	time.Sleep(5500 * time.Millisecond)
	wantErrorIs(t, "Beat", beat(), revocation.ErrFeedBroken)
	wantErrorIs(t, "Follow", follow(t, s, p).Wait(t), revocation.ErrFeedBroken)
}

// TestTimeToLive checks that a message is never kept for less than its records need.
func TestTimeToLive(t *testing.T) {
	s := openStore(t, Options{Servers: []string{"nats://127.0.0.1:1"}})
	now := time.Now()
	for left, want := range map[time.Duration]time.Duration{
		time.Hour:                 2 * time.Hour,
		1500 * time.Millisecond:   time.Hour + 2*time.Second,
		-time.Hour:                time.Hour,
		50 * 365 * 24 * time.Hour: 50*365*24*time.Hour + time.Hour,
	} {
		if got := s.timeToLive(now.Add(left), now); got != want {
			t.Errorf("with %s left it is kept for %s, want %s", left, got, want)
		}
	}
	if got := s.timeToLive(revocation.Never, now); got != 0 {
		t.Errorf("what never expires is kept for %s", got)
	}
	// The longest one is one that the server takes.
	real := openStore(t, startServer(t).options())
	r := newRecord("long", time.Hour)
	r.Expires = revocation.Never.Add(-time.Second)
	appendTo(t, real, r)
	if names, _ := mustLoad(t, real); len(names) != 1 {
		t.Error("the record that lives longest is gone")
	}
}
