package pgstore

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestFull fills the disk. What is there can be read and followed, and records can be
// appended once there is room.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "root: it mounts a small disk")
	}
	sv := startOnSmallDisk(t)
	s := open(t, sv.options())
	appendTo(t, s, newBatch("before", 10)...)
	names, p := mustLoad(t, s)
	filler := filepath.Join(sv.dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	grow(t, filler)
	var err error
	for range 5000 {
		if err = s.Append(background, newBatch("refused", 100)); err != nil {
			break
		}
	}
	t.Logf("Append: %v", err)
	if err == nil {
		t.Fatal("the disk isn't full")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// A server that can't write its log of transactions ends.
	select {
	case <-sv.ended:
		sv.start(t)
	default:
		wantErrorIs(t, "Append", err, revocation.ErrStoreFull)
		wantWords(t, "Append", err, "make room")
	}
	eventually(t, "there is room", func() bool { return s.Append(background, newBatch("after", 1)) == nil })
	got, _ := mustLoad(t, s)
	for i := range names {
		if got[i] != names[i] {
			t.Fatalf("record %d is %s, want %s", i, got[i], names[i])
		}
	}
	f := follow(t, s, p)
	eventually(t, "what came after is followed", func() bool { return len(f.Got()) > 0 })
}

// grow makes a file as long as its file system allows.
func grow(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// startOnSmallDisk runs a server whose directory is a file system of its own.
func startOnSmallDisk(t testing.TB) *server {
	t.Helper()
	sv := newServer(t, "max_wal_size=32MB", "min_wal_size=32MB", "wal_recycle=off")
	if err := syscall.Mount("tmpfs", sv.dir, "tmpfs", 0, fmt.Sprintf("size=120m,mode=0700,uid=%d,gid=%d", sv.as.Uid, sv.as.Gid)); err != nil {
		missing(t, fmt.Sprintf("the right to mount a small file system (run as root): %v", err))
	}
	t.Cleanup(func() { _ = syscall.Unmount(sv.dir, syscall.MNT_DETACH) })
	sv.fill(t, "--wal-segsize", "1")
	sv.start(t)
	return sv
}
