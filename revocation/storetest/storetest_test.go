// The suite's own tests: a store that does everything right passes, and each of
// a number of faulty ones fails, in the test that is meant to find it.

package storetest

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// faultVariable names the fault that TestMemory's store has.
const faultVariable = "STORETEST_FAULT"

func TestMemory(t *testing.T) {
	fault := os.Getenv(faultVariable)
	Run(t, func(*testing.T) Opener {
		disk := &disk{}
		return func(testing.TB) revocation.Store {
			if fault == "forgets" {
				disk.records = nil
			}
			return &memory{disk: disk, fault: fault}
		}
	})
}

func TestFaults(t *testing.T) {
	for fault, test := range map[string]string{
		"loses the last":       "an_Append_of_10,000",
		"reverses":             "one_Append_keeps_its_order",
		"forgets":              "records_survive_Close",
		"drops the reason":     "every_kind_of_record",
		"keeps the batch":      "a_batch_may_be_used_again",
		"hides an apply error": "Load_returns_the_error",
		"ignores cancelling":   "Load_ends_when_its_context",
		"closes by halves":     "Close_can_be_repeated",
		"prunes too much":      "Prune_removes_only",
		"writes half":          "an_Append_is_loaded_as_a_whole",
		"refuses duplicates":   "a_record_may_be_appended_twice",
		"invents":              "an_empty_store",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$/^"+test, "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("a store with this fault passes the suite")
			}
			if !regexp.MustCompile(`--- FAIL: TestMemory/` + regexp.QuoteMeta(test)).Match(out) {
				t.Fatalf("the fault isn't found by %q:\n%s", test, out)
			}
		})
	}
}

type disk struct {
	sync.Mutex
	records []revocation.Record
}

// memory is a store whose disk is a slice.
type memory struct {
	disk   *disk
	fault  string
	closed bool
}

func (m *memory) check() error {
	if m.closed && m.fault != "closes by halves" {
		return revocation.ErrStoreClosed
	}
	return nil
}

func (m *memory) Append(ctx context.Context, records []revocation.Record) error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if err := m.check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range records {
		if m.fault == "refuses duplicates" && slices.ContainsFunc(m.disk.records, func(r revocation.Record) bool { return r.ID == records[i].ID }) {
			return os.ErrExist
		}
		if m.fault == "writes half" && i == len(records)/2 {
			time.Sleep(time.Millisecond)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		r := records[i]
		if m.fault == "drops the reason" {
			r.Reason = ""
		}
		m.disk.records = append(m.disk.records, r)
	}
	switch {
	case m.fault == "loses the last" && len(records) > 4096:
		m.disk.records = m.disk.records[:len(m.disk.records)-1]
	case m.fault == "reverses":
		slices.Reverse(m.disk.records[len(m.disk.records)-len(records):])
	case m.fault == "keeps the batch" && len(m.disk.records) <= len(records):
		m.disk.records = records
	}
	return nil
}

func (m *memory) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	m.disk.Lock()
	records := slices.Clone(m.disk.records)
	err := m.check()
	m.disk.Unlock()
	if err != nil {
		return "", err
	}
	if m.fault == "invents" {
		records = append(records, newRecord("invented", time.Hour))
	}
	for batch := range slices.Chunk(records, 1000) {
		if m.fault != "ignores cancelling" && ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err := apply(batch); err != nil && m.fault != "hides an apply error" {
			return "", err
		}
	}
	return "", nil
}

func (m *memory) Prune(ctx context.Context, before time.Time) (int, error) {
	m.disk.Lock()
	defer m.disk.Unlock()
	if err := m.check(); err != nil {
		return 0, err
	}
	if m.fault == "prunes too much" {
		before = before.Add(24 * time.Hour)
	}
	n := len(m.disk.records)
	m.disk.records = slices.DeleteFunc(m.disk.records, func(r revocation.Record) bool { return r.Expires.Before(before) })
	return n - len(m.disk.records), nil
}

func (m *memory) Close() error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if m.closed && strings.HasPrefix(m.fault, "closes") {
		return os.ErrClosed
	}
	m.closed = true
	return nil
}
