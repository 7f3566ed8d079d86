package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// makeSample makes a store with everything that a file can have: several
// classes, branch pages, small buckets, overflowing pages, free pages. It
// returns the file and the names of the records, in order.
func makeSample(t *testing.T) (content []byte, names []string) {
	t.Helper()
	path := filepath.Join(memoryDir(t), "records.db")
	s := openStore(t, path)
	for i := range 4 {
		batch := newBatch(fmt.Sprint(i), 100)
		for j := range 60 {
			r := newRecord(fmt.Sprint(i, "expired", j), -time.Hour)
			batch = append(batch, r)
		}
		appendTo(t, s, batch...)
	}
	if _, err := s.Prune(context.Background(), time.Now()); err != nil {
		t.Fatal(err)
	}
	large := newRecord("large", 100*time.Hour)
	large.Selector.Claims = append(large.Selector.Claims, revocation.Claim{Role: revocation.RoleSubject, Value: string(bytes.Repeat([]byte("s"), 1024))})
	large.Selector.Issuer = string(bytes.Repeat([]byte("i"), 1024))
	many := newRecord("", time.Until(revocation.Never))
	many.Kind, many.Selector, many.Expires = revocation.Reinstatement, revocation.Selector{}, revocation.Never
	for range revocation.MaxReinstates {
		many.Reinstates = append(many.Reinstates, revocation.NewID())
	}
	appendTo(t, s, large)
	appendTo(t, s, many)
	names = loadAny(t, s)
	closeStore(t, s)
	checkBolt(t, path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content, names
}

// loadAny returns the encodings of all live records: what Load hands out must be
// what was appended, to the byte. Damage can bring back expired ones, from pages
// that were freed; they don't matter.
func loadAny(t *testing.T, s *Store) (all []string) {
	t.Helper()
	if _, err := s.Load(context.Background(), collect(&all)); err != nil {
		t.Fatal(err)
	}
	return all
}

func collect(into *[]string) func([]revocation.Record) error {
	return func(batch []revocation.Record) error {
		for i := range batch {
			if batch[i].Expires.After(time.Now()) {
				*into = append(*into, string(revocation.AppendRecord(nil, &batch[i])))
			}
		}
		return nil
	}
}

// tryDamaged opens a damaged file and uses it. Every error must wrap
// ErrStoreCorrupt or, where the damage is in a version, ErrStoreVersion; what is
// loaded must be a part of what was appended. It reports whether all of it was
// loaded, and whether there was an error.
func tryDamaged(t *testing.T, path, what string, content []byte, want []string) (whole, refused bool) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := func(err error) bool {
		if err != nil && !errors.Is(err, revocation.ErrStoreCorrupt) && !errors.Is(err, revocation.ErrStoreVersion) {
			t.Errorf("%s: error %v, want one that wraps ErrStoreCorrupt", what, err)
		}
		return err == nil
	}
	s, err := Open(context.Background(), path, Options{})
	if !ok(err) {
		return false, true
	}
	defer s.Close()
	var got []string
	_, err = s.Load(context.Background(), collect(&got))
	if !ok(err) {
		return false, true
	}
	loaded := map[string]bool{}
	for _, r := range got {
		loaded[r] = true
	}
	for r := range loaded {
		if !slices.Contains(want, r) {
			t.Errorf("%s: Load handed out a record that was never appended", what)
		}
	}
	if s.db.NoSync = true; !ok(s.Append(context.Background(), newBatch("later", 50))) {
		return false, true
	}
	if _, err := s.Prune(context.Background(), time.Now()); !ok(err) {
		return false, true
	}
	var again []string
	if _, err := s.Load(context.Background(), collect(&again)); ok(err) && len(again) != len(got)+50 {
		t.Errorf("%s: %d records after appending 50 to %d", what, len(again), len(got))
	}
	return len(loaded) == len(want), false
}

// TestByteFlips damages one byte of the file at a time. Nothing that is in use
// may change without notice. Only when a meta page is damaged does bolt go by
// the other, the state before the last transaction.
func TestByteFlips(t *testing.T) {
	content, want := makeSample(t)
	random := rand.New(rand.NewPCG(4, 1))
	path := filepath.Join(memoryDir(t), "records.db")
	const page = 4096
	var offsets []int
	for i := range 2 { // the meta pages, byte by byte
		for j := range headerSize + metaSize + 8 {
			offsets = append(offsets, i*page+j)
		}
	}
	for at := 2 * page; at < len(content); at += page { // the headers and first elements of pages
		for range 16 {
			offsets = append(offsets, at+random.IntN(48))
		}
	}
	for range 700 {
		offsets = append(offsets, random.IntN(len(content)))
	}
	if testing.Short() {
		random.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
		offsets = offsets[:300]
	}
	refusals := 0
	for _, at := range offsets {
		damaged := bytes.Clone(content)
		damaged[at] ^= 1 << random.IntN(8)
		if random.IntN(2) == 0 {
			damaged[at] = byte(random.Uint32())
		}
		if damaged[at] == content[at] {
			continue
		}
		what := fmt.Sprintf("byte %d of page %d: %#x instead of %#x", at%page, at/page, damaged[at], content[at])
		whole, refused := tryDamaged(t, path, what, damaged, want)
		if refused {
			refusals++
		}
		if !whole && !refused && at >= 2*page {
			t.Errorf("%s: records were lost without notice", what)
		}
	}
	t.Logf("%d of %d damaged files were refused", refusals, len(offsets))
	if refusals == 0 {
		t.Error("no damaged file was refused")
	}
}

func TestTruncations(t *testing.T) {
	content, want := makeSample(t)
	random := rand.New(rand.NewPCG(5, 1))
	path := filepath.Join(memoryDir(t), "records.db")
	sizes := []int{1, 15, 16, 79, 80, 1023, 1024, 2048, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 16384, len(content) - 1}
	for range 200 {
		sizes = append(sizes, 1+random.IntN(len(content)-1))
	}
	for _, size := range sizes {
		whole, refused := tryDamaged(t, path, fmt.Sprintf("cut to %d bytes", size), bytes.Clone(content[:size]), want)
		if !whole && !refused {
			t.Errorf("cut to %d bytes: records were lost without notice", size)
		}
	}
	// The rest overwritten by zeros, as after a crash of some file systems.
	for _, size := range sizes {
		zeroed := append(bytes.Clone(content[:size]), make([]byte, len(content)-size)...)
		whole, refused := tryDamaged(t, path, fmt.Sprintf("zeros from byte %d", size), zeroed, want)
		if !whole && !refused && size >= 2*4096 {
			t.Errorf("zeros from byte %d: records were lost without notice", size)
		}
	}
}

// TestPagesOfOthers puts pages in the place of others: each is sound by itself.
func TestPagesOfOthers(t *testing.T) {
	content, want := makeSample(t)
	const page = 4096
	path := filepath.Join(memoryDir(t), "records.db")
	random := rand.New(rand.NewPCG(6, 1))
	pages := len(content) / page
	for range 300 {
		from, to := 2+random.IntN(pages-2), 2+random.IntN(pages-2)
		damaged := bytes.Clone(content)
		copy(damaged[to*page:(to+1)*page], content[from*page:(from+1)*page])
		if random.IntN(2) == 0 {
			native.PutUint64(damaged[to*page:], uint64(to)) // it even says that it belongs there
		}
		if bytes.Equal(damaged, content) {
			continue
		}
		tryDamaged(t, path, fmt.Sprintf("page %d in place of %d", from, to), damaged, want)
	}
}

// TestCounts changes how many elements a page says it has.
func TestCounts(t *testing.T) {
	content, want := makeSample(t)
	const page = 4096
	path := filepath.Join(memoryDir(t), "records.db")
	for at := 2 * page; at < len(content); at += page {
		count := native.Uint16(content[at+10:])
		for _, n := range []uint16{0, 1, count - 1, count + 1, 0xFFFF} {
			damaged := bytes.Clone(content)
			native.PutUint16(damaged[at+10:], n)
			what := fmt.Sprintf("page %d counts %d elements instead of %d", at/page, n, count)
			if whole, refused := tryDamaged(t, path, what, damaged, want); !whole && !refused {
				t.Errorf("%s: records were lost without notice", what)
			}
		}
	}
}

// TestCircle makes a branch page its own child, which sends bolt in circles
// until the stack is used up.
func TestCircle(t *testing.T) {
	content, want := makeSample(t)
	const page = 4096
	path := filepath.Join(memoryDir(t), "records.db")
	circles := 0
	for at := 2 * page; at < len(content); at += page {
		if native.Uint16(content[at+8:]) != branchPage {
			continue
		}
		damaged := bytes.Clone(content)
		native.PutUint64(damaged[at+headerSize+8:], uint64(at/page))
		if _, refused := tryDamaged(t, path, fmt.Sprintf("page %d is its own child", at/page), damaged, want); refused {
			circles++
		}
	}
	if circles == 0 {
		t.Error("no file was refused")
	}
}

// TestRecordOfAnotherVersion has a record whose checksum is right but whose
// encoding is unknown.
func TestRecordOfAnotherVersion(t *testing.T) {
	path := filepath.Join(memoryDir(t), "records.db")
	s := openStore(t, path)
	appendTo(t, s, newBatch("a", 3)...)
	err := s.db.Update(func(tx *bbolt.Tx) error {
		class := tx.Bucket(recordsBucket).Bucket([]byte("1h"))
		key, value := class.Cursor().First()
		value = bytes.Clone(value[:len(value)-4])
		value[0] = 99
		sum := checksum(key, value)
		return class.Put(bytes.Clone(key), append(value, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)))
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = load(s)
	wantErrorIs(t, "Load", err, revocation.ErrStoreCorrupt, revocation.ErrInvalidRecord)
	// Appending isn't hindered by it.
	appendTo(t, s, newBatch("b", 3)...)
}
