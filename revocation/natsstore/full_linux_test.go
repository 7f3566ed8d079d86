package natsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestFullDisk fills the file system that the server writes to. The server doesn't say that:
// it answers nothing that is to be written, until there is room and it is started again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, but this test needs the right to mount a small file system: %v", err)
		}
		t.Skipf("this test needs the right to mount a small file system (run as root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	sv := newServer(t)
	sv.dir = dir
	sv.configure(t, "")
	sv.start(t)
	opts := sv.options()
	opts.Timeout = time.Second
	s := openStore(t, opts)
	appendTo(t, s, newBatch("before", 10)...)
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		err = nil
	}
	f.Close()
	var acknowledged []string
	refused := 0
	eventually(t, "it is full", func() bool {
		name := fmt.Sprint("more ", refused+len(acknowledged))
		if err = s.Append(background, newBatch(name, 100)); err == nil {
			acknowledged = append(acknowledged, name+"/99")
			return false
		}
		refused++
		return refused == 2
	})
	wantWords(t, "Append", err, "disk is full")
	_, err = s.Beat(background, revocation.Beat{Node: "a", Number: 1})
	wantWords(t, "Beat", err, "disk is full")
	if names, _ := mustLoad(t, s); !slices.Contains(names, "before/9") {
		t.Error("what was there can't be read")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	sv.kill()
	sv.start(t)
	appendTo(t, s, newBatch("after", 10)...)
	names, _ := mustLoad(t, s)
	for _, want := range append(acknowledged, "before/9", "after/9") {
		if !slices.Contains(names, want) {
			t.Errorf("%s is lost", want)
		}
	}
}
