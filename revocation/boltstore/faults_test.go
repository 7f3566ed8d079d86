// What the kernel says: a full disk, a read-only one, one that fails.

//go:build linux

package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func needStrace(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command("strace", "-o", os.DevNull, "true").Run()
	}
	need(t, "strace, allowed to trace", err == nil)
}

// inject returns the command that lets the n-th of a child's system calls of
// that name end in an errno, without being made.
func inject(call, errno string, n int) []string {
	return []string{"strace", "-f", "-o", os.DevNull, "-e", "trace=" + call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", call, errno, n)}
}

// crashAt runs a child that opens the store and is killed when it makes the n-th
// system call of that name. It reports whether it came to that.
func crashAt(t *testing.T, call string, n int, path string) bool {
	t.Helper()
	wrapper := []string{"strace", "-f", "-o", os.DevNull, "-e", "trace=" + call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n)}
	err := childCommand(wrapper, "open", path).Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Fatalf("child with %v: %v", wrapper, err)
	}
	return err != nil
}

// TestFaults lets one system call fail in a process that appends 20 batches.
// A failed sync must be the end, although the next one would succeed; a refused
// write must not be.
func TestFaults(t *testing.T) {
	needStrace(t)
	const batches = 20
	for _, test := range []struct {
		call, errno string
		want        string
	}{
		{"fdatasync", "EIO", "failed"},    // of pages, and of meta pages
		{"fdatasync", "ENOSPC", "failed"}, // as NFS reports it: too late to be harmless
		{"fdatasync", "EROFS", "failed"},
		{"fsync", "EIO", "failed"}, // of the file, made longer
		{"fsync", "EDQUOT", "failed"},
		{"pwrite64", "ENOSPC", "full"}, // of pages, and of meta pages
		{"pwrite64", "EDQUOT", "full"},
		{"pwrite64", "EFBIG", "full"},
		{"pwrite64", "EROFS", "read-only"},
		{"pwrite64", "EIO", "failed"},
		{"ftruncate", "ENOSPC", "full"},
		{"ftruncate", "EFBIG", "full"},
		{"ftruncate", "EPERM", "read-only"},
		{"ftruncate", "EIO", "failed"},
	} {
		t.Run(test.call+" "+test.errno, func(t *testing.T) {
			outcomes := 0
			n := 1
			if test.call == "fsync" {
				n = 2 // the first is of the directory, in Open
			}
			most := 24 // more than one transaction has
			if testing.Short() {
				most = 4
			}
			for ; outcomes < most; n++ {
				path := filepath.Join(memoryDir(t), "records.db")
				// Created without the fault, which Open would return.
				closeStore(t, openStore(t, path))
				lines := runChild(t, inject(test.call, test.errno, n), "faults", path, fmt.Sprint(batches))
				fault := checkOutcome(t, lines, batches, test.want)
				checkAcknowledged(t, path, lines)
				if fault < 0 {
					break // there is no n-th call
				}
				outcomes++
			}
			if outcomes == 0 {
				t.Errorf("no Append met the fault")
			}
			t.Logf("%d Appends met the fault", outcomes)
		})
	}
}

// checkOutcome checks what a child said and returns the number of the Append
// that met the fault, -1 if none did.
func checkOutcome(t *testing.T, lines []string, batches int, want string) int {
	t.Helper()
	fault := -1
	for i, line := range lines[:batches] {
		got := strings.TrimPrefix(line, fmt.Sprintf("%d=", i))
		switch {
		case got == "acknowledged" && (fault < 0 || want != "failed"):
		case got == want && (fault < 0 || want == "failed"):
			if fault < 0 {
				fault = i
			}
		default:
			t.Fatalf("Append %d: %s, want %s once, acknowledged before, and after it unless it is failed: %v", i, got, want, lines)
		}
	}
	if last := lines[len(lines)-1]; last != "load=acknowledged" {
		t.Fatalf("Load afterwards: %s", last)
	}
	return fault
}

// checkAcknowledged opens the store anew and checks that every batch which was
// acknowledged is there, and each of the others as a whole or not at all.
func checkAcknowledged(t *testing.T, path string, lines []string) {
	t.Helper()
	s := openStore(t, path)
	counts := map[string]int{}
	for _, n := range mustLoad(t, s) {
		batch, _, _ := strings.Cut(n, "/")
		counts[batch]++
	}
	for _, line := range lines {
		i, outcome, _ := strings.Cut(line, "=")
		if n := counts["faults-"+i]; i != "load" && n != 100 && (n != 0 || outcome == "acknowledged") {
			t.Fatalf("batch %s, %s, has %d records of 100", i, outcome, n)
		}
	}
	appendTo(t, s, newBatch("after", 10)...)
	closeStore(t, s)
	checkBolt(t, path)
}

// mountTmpfs mounts a file system of that size.
func mountTmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	need(t, fmt.Sprintf("the right to mount a tmpfs (%v)", err), err == nil)
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	dir := mountTmpfs(t, 3<<20)
	path := filepath.Join(dir, "records.db")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	acked := map[string]bool{}
	refused := 0
	// Batches of different sizes, so that it is full at different points of a
	// transaction.
	try := func(round string) {
		for i := range 300 {
			batch := newBatch(fmt.Sprintf("%s-%d", round, i), 1+i*53%400)
			err := s.Append(context.Background(), batch)
			if err != nil {
				wantErrorIs(t, "Append", err, revocation.ErrStoreFull, syscall.ENOSPC)
				if errors.Is(err, revocation.ErrStoreFailed) || !strings.Contains(err.Error(), path) {
					t.Fatalf("Append: %v", err)
				}
				refused++
				continue
			}
			for j := range batch {
				acked[name(&batch[j])] = true
			}
		}
	}
	check := func() {
		t.Helper()
		got := mustLoad(t, s)
		for _, n := range got {
			delete(acked, n)
		}
		if len(acked) > 0 {
			t.Fatalf("%d acknowledged records are lost", len(acked))
		}
		for _, n := range got {
			acked[n] = true
		}
	}
	try("full")
	if refused < 10 {
		t.Fatalf("%d batches were refused, want the disk to be full", refused)
	}
	check()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	before := len(acked)
	appendTo(t, s, newBatch("again", 100)...)
	try("room")
	if len(acked) <= before {
		t.Fatal("nothing was appended after room was made")
	}
	check()
	closeStore(t, s)
	checkBolt(t, path)
	s = openStore(t, path)
	check()
	closeStore(t, s)
}

func TestOpenDiskFull(t *testing.T) {
	dir := mountTmpfs(t, 64<<10)
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "records.db")
	_, err := Open(context.Background(), path, Options{})
	wantErrorIs(t, "Open", err, revocation.ErrStoreFull)
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	closeStore(t, openStore(t, path))
}

// TestCompactionDiskFull has no room for the copy: the store opens without.
func TestCompactionDiskFull(t *testing.T) {
	sample := filepath.Join(memoryDir(t), "records.db")
	want := makeMostlyFree(t, sample)
	info, err := os.Stat(sample)
	if err != nil {
		t.Fatal(err)
	}
	dir := mountTmpfs(t, int(info.Size())+256<<10)
	path := filepath.Join(dir, "sub", "records.db")
	copyFile(t, sample, path)
	s := openStore(t, path)
	if got := mustLoad(t, s); len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	if _, err := os.Stat(path + newSuffix); !os.IsNotExist(err) {
		t.Errorf("the temporary file is still there: %v", err)
	}
	appendTo(t, s, newBatch("after", 10)...)
	closeStore(t, s)
	checkBolt(t, path)
}

func TestOpenReadOnlyFileSystem(t *testing.T) {
	dir := mountTmpfs(t, 1<<20)
	path := filepath.Join(dir, "records.db")
	closeStore(t, openStore(t, path))
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(dir, "other.db"), filepath.Join(dir, "sub", "records.db")} {
		_, err := Open(context.Background(), p, Options{})
		wantErrorIs(t, "Open", err, revocation.ErrStoreReadOnly, syscall.EROFS)
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error doesn't name %s: %v", p, err)
		}
	}
}

func TestOpenNotPermitted(t *testing.T) {
	if os.Geteuid() == 0 {
		runAsNobody(t) // nothing is forbidden to root
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "records.db")
	closeStore(t, openStore(t, path))
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	for _, p := range []string{path, filepath.Join(dir, "other.db"), filepath.Join(dir, "sub", "records.db")} {
		_, err := Open(context.Background(), p, Options{})
		wantErrorIs(t, "Open", err, revocation.ErrStoreReadOnly, syscall.EACCES)
	}
}

// runAsNobody runs the test once more in a process of a user without privileges.
func runAsNobody(t *testing.T) {
	const nobody = 65534
	// What go test built lies in a folder that only its owner may enter.
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "test"), binary, 0o755), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("as another user: %v\n%s", err, out)
	}
}

// TestOpenPipe must not hang.
func TestOpenPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := Open(ctx, path, Options{})
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
}
