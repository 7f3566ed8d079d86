package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestOpenCreates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "records.db")
	closeStore(t, openStore(t, path))
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v (error %v), want %v", p, info.Mode(), err, want)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v (error %v), want the store alone", entries, err)
	}
	checkBolt(t, path)
}

func TestOpenFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s, err := Open(context.Background(), path, Options{FileMode: 0o660})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o660 {
		t.Errorf("mode %v (error %v), want 0660", info.Mode(), err)
	}
}

func TestOpenEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	appendTo(t, s, newBatch("a", 3)...)
	closeStore(t, s)
	if got := mustLoad(t, openStore(t, path)); len(got) != 3 {
		t.Errorf("%d records, want 3", len(got))
	}
}

// TestOpenLink opens a store whose path is a symbolic link. The link must stay
// one, and the file must be made where it leads.
func TestOpenLink(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "disk", "records.db")
	link := filepath.Join(dir, "records.db")
	if err := os.Mkdir(filepath.Dir(real), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, link)
	appendTo(t, s, newBatch("a", 3)...)
	_, err := Open(context.Background(), real, Options{LockTimeout: -1})
	wantErrorIs(t, "Open of the file behind the link", err, revocation.ErrStoreInUse)
	closeStore(t, s)
	if got := mustLoad(t, openStore(t, real)); len(got) != 3 {
		t.Errorf("%d records, want 3", len(got))
	}
}

func TestOpenInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	cmd := childCommand(nil, "hold", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	for _, timeout := range []time.Duration{-1, 100 * time.Millisecond} {
		_, err := Open(context.Background(), path, Options{LockTimeout: timeout})
		wantErrorIs(t, "Open", err, revocation.ErrStoreInUse)
		if !strings.Contains(err.Error(), path) {
			t.Errorf("the error doesn't name the path: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = Open(ctx, path, Options{LockTimeout: time.Hour})
	wantErrorIs(t, "Open", err, context.Canceled)
}

// TestOpenWaits opens a store that is closed meanwhile, as in a reload.
func TestOpenWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	old := openStore(t, path)
	appendTo(t, old, newBatch("a", 3)...)
	time.AfterFunc(100*time.Millisecond, func() { old.Close() })
	s, err := Open(context.Background(), path, Options{LockTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := mustLoad(t, s); len(got) != 3 {
		t.Errorf("%d records, want 3", len(got))
	}
}

// TestOpenAtOnce opens one store that doesn't exist yet from many sides: one has
// it, and what that one appends isn't lost to a file that another creates.
func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "records.db")
	const n = 8
	errs := make(chan error, n)
	for i := range n {
		go func() {
			s, err := Open(context.Background(), path, Options{LockTimeout: time.Minute})
			if err == nil {
				err = errors.Join(s.Append(context.Background(), newBatch(fmt.Sprint(i), 1)), s.Close())
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := mustLoad(t, openStore(t, path)); len(got) != n {
		t.Errorf("%d records, want %d", len(got), n)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bolt := func(name string, fill func(tx *bbolt.Tx) error) string {
		path := filepath.Join(dir, name)
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(fill); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put := func(tx *bbolt.Tx, bucket, key, value string) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	}
	for _, test := range []struct {
		path string
		want error
		text string
	}{
		{write("text", []byte("hello")), revocation.ErrStoreCorrupt, "move the file away"},
		{write("zeros", make([]byte, 64<<10)), revocation.ErrStoreCorrupt, "isn't a bolt file"},
		{write("noise", bytes.Repeat([]byte("noise"), 20_000)), revocation.ErrStoreCorrupt, "isn't a bolt file"},
		{bolt("other", func(tx *bbolt.Tx) error { return put(tx, "certificates", "a", "b") }), revocation.ErrStoreCorrupt, "something else"},
		{bolt("newer", func(tx *bbolt.Tx) error { return put(tx, "meta", "format", "2") }), revocation.ErrStoreVersion, `version "2", this program reads version 1`},
		{bolt("no id", func(tx *bbolt.Tx) error { return put(tx, "meta", "format", "1") }), revocation.ErrStoreCorrupt, "id"},
		{filepath.Join(dir), nil, "is a directory"},
		{filepath.Join(dir, "text", "records.db"), nil, "not a directory"},
	} {
		before, _ := os.ReadFile(test.path)
		_, err := Open(context.Background(), test.path, Options{})
		if err == nil {
			t.Errorf("%s: no error", test.path)
			continue
		}
		if test.want != nil {
			wantErrorIs(t, test.path, err, test.want)
		}
		if !strings.Contains(err.Error(), test.path) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: error %q doesn't say %q", test.path, err, test.text)
		}
		if after, _ := os.ReadFile(test.path); !bytes.Equal(after, before) {
			t.Errorf("%s: the file was changed", test.path)
		}
	}
}

// TestOpenSequence refuses a file whose next records would overwrite others.
func TestOpenSequence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	appendTo(t, s, newBatch("a", 10)...)
	if err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(recordsBucket).SetSequence(9) }); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	_, err := Open(context.Background(), path, Options{})
	wantErrorIs(t, "Open", err, revocation.ErrStoreCorrupt)
}

func TestOpenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path := filepath.Join(t.TempDir(), "records.db")
	_, err := Open(ctx, path, Options{})
	wantErrorIs(t, "Open", err, context.Canceled)
	closeStore(t, openStore(t, path))
}

// makeMostlyFree makes a store of which most is free, and returns the names of
// the records that are left.
func makeMostlyFree(t *testing.T, path string) []string {
	t.Helper()
	s := openStore(t, path)
	s.db.NoSync = true
	for i := range 30 {
		batch := newBatch(fmt.Sprintf("expired%d", i), 5000)
		for j := range batch {
			batch[j].Expires = time.Now().Add(-time.Hour).Truncate(time.Second)
		}
		appendTo(t, s, batch...)
	}
	keep := newBatch("kept", 5000)
	appendTo(t, s, keep...)
	appendTo(t, s, newRecord("for good", 1000*time.Hour))
	if _, err := s.Prune(context.Background(), time.Now()); err != nil {
		t.Fatal(err)
	}
	s.db.NoSync = false
	appendTo(t, s, newRecord("last", time.Hour))
	names := mustLoad(t, s)
	if len(names) != 5002 {
		t.Fatalf("%d records are left, want 5002", len(names))
	}
	closeStore(t, s)
	return names
}

func TestCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	want := makeMostlyFree(t, path)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, err := Open(context.Background(), path, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if after.Size() >= before.Size()/2 || after.Mode() != before.Mode() {
		t.Errorf("%d bytes, mode %s; before: %d bytes, mode %s; log: %s", after.Size(), after.Mode(), before.Size(), before.Mode(), &log)
	}
	if !strings.Contains(log.String(), "compacted") {
		t.Errorf("the log doesn't tell of the compaction: %s", &log)
	}
	if same, err := isAt(s.file, path); !same || err != nil {
		t.Fatalf("the open file isn't the one at the path: %v", err)
	}
	_, err = Open(context.Background(), path, Options{LockTimeout: -1})
	wantErrorIs(t, "Open of a compacted store that is open", err, revocation.ErrStoreInUse)
	got, position, err := load(s)
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d records, want %d in the same order (error %v)", len(got), len(want), err)
	}
	if position != "155002" {
		t.Errorf("position %s, want the same sequence to go on: 155002", position)
	}
	appendTo(t, s, newRecord("new", time.Hour))
	closeStore(t, s)
	checkBolt(t, path)
	if got := mustLoad(t, openStore(t, path)); len(got) != len(want)+1 {
		t.Errorf("%d records, want %d", len(got), len(want)+1)
	}
	if _, err := os.Stat(path + newSuffix); !os.IsNotExist(err) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}
