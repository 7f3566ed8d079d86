// A store as large as those that are in use.

package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// numbers are those of a million records: which of them were handed out, and how often.
type numbers struct {
	times [million]uint8
	count int // of different ones
}

const million = 1_000_000

func (n *numbers) add(batch []revocation.Record) error {
	for i := range batch {
		text, _ := strings.CutPrefix(name(&batch[i]), "number ")
		number, err := strconv.Atoi(text)
		if err != nil || number >= million {
			return fmt.Errorf("%q was never appended", name(&batch[i]))
		}
		if n.times[number] == 0 {
			n.count++
		}
		n.times[number] = min(n.times[number]+1, 2)
	}
	return nil
}

// want fails the test unless there was every record from one number on, and none before.
func (n *numbers) want(t *testing.T, what string, from int) {
	t.Helper()
	for i, times := range n.times {
		if (times > 0) != (i >= from) {
			t.Fatalf("%s: record %d was handed out %d times (of %d records)", what, i, times, n.count)
		}
	}
}

// testMillion appends a million records as a node does that gives back what a store has
// lost, loads them, and follows from the middle.
func testMillion(t *testing.T, open Opener) {
	if testing.Short() {
		t.Skip("this test takes a while, and -short is given")
	}
	const batch, run = 10_000, 1000 // of a batch, so many are kept for as long
	writer := openFeed(t, open)
	ttls := []time.Duration{time.Hour, 20 * time.Hour, 200 * time.Hour, 700 * time.Hour, 2000 * time.Hour}
	var middle revocation.Position
	began := time.Now()
	for first := 0; first < million; first += batch {
		if first == million/2 {
			middle = positionOf(t, writer)
		}
		records := make([]revocation.Record, batch)
		for i := range records {
			records[i] = newRecord("number "+strconv.Itoa(first+i), ttls[i/run%len(ttls)])
		}
		appendTo(t, writer, records...)
	}
	t.Logf("appended within %s", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	reader := openFeed(t, open)
	var loaded numbers
	end, err := reader.Load(background, loaded.add)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	loaded.want(t, "Load", 0)
	t.Logf("loaded within %s", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	var followed numbers
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(background, 5*patience)
	defer cancel()
	err = reader.Follow(ctx, middle, func(records []revocation.Record, p revocation.Position) error {
		if err := followed.add(records); err != nil {
			return err
		}
		if reader.Covers(p, end) {
			return enough
		}
		return nil
	})
	wantErrorIs(t, "Follow", err, enough)
	followed.want(t, "Follow", million/2)
	t.Logf("followed half of it within %s", time.Since(began).Round(time.Millisecond))
	head := beat(t, reader, revocation.Beat{Node: "reader", Applied: end})
	wantCovers(t, reader, end, head.Position, true)
}
