//go:build linux

package boltstore

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// memoryDir returns a directory in memory, where there is one with room: for
// tests to which a disk adds nothing but time.
func memoryDir(t testing.TB) string {
	t.Helper()
	var fs syscall.Statfs_t
	if syscall.Statfs("/dev/shm", &fs) == nil && fs.Bavail*uint64(fs.Bsize) > 512<<20 {
		if dir, err := os.MkdirTemp("/dev/shm", "boltstore"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}

// TestCrashAtEveryStep ends a process at each of its system calls that change
// something, while it creates a store or compacts one: the next one must be able
// to open it, and find everything.
func TestCrashAtEveryStep(t *testing.T) {
	needStrace(t)
	sparse := 10
	if testing.Short() {
		sparse = 2
	}
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string) []string
	}{
		{"creation", func(*testing.T, string) []string { return nil }},
		{"compaction", makeMostlyFree},
	} {
		t.Run(test.name, func(t *testing.T) {
			sample := filepath.Join(memoryDir(t), "records.db")
			want := test.make(t, sample)
			for _, call := range []string{"openat", "flock", "pwrite64", "ftruncate", "fdatasync", "fsync", "fchmodat", "renameat", "unlinkat"} {
				// Compaction writes hundreds of pages, one like the other.
				for n := 1; ; n += 1 + n/sparse {
					dir := memoryDir(t)
					path := filepath.Join(dir, "dir", "records.db")
					copyFile(t, sample, path)
					if !crashAt(t, call, n, path) {
						t.Logf("%s: less than %d calls", call, n)
						break
					}
					s := openStore(t, path)
					got := mustLoad(t, s)
					if len(got) != len(want) && len(got) != len(want)+1 {
						t.Fatalf("crash in call %d of %s: %d records, want %d", n, call, len(got), len(want))
					}
					appendTo(t, s, newRecord("next", time.Hour))
					closeStore(t, s)
					checkBolt(t, path)
					if _, err := os.Stat(path + newSuffix); err == nil {
						t.Errorf("crash in call %d of %s: the temporary file stays", n, call)
					}
					os.RemoveAll(dir)
				}
			}
		})
	}
}

// copyFile copies a file, if there is one, into a new directory.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplacedBetweenOpenAndLock delays a process between opening the empty file
// that it has made and locking it, while another puts a store in its place: it
// must not put a second one there.
func TestReplacedBetweenOpenAndLock(t *testing.T) {
	needStrace(t)
	path := filepath.Join(t.TempDir(), "records.db")
	cmd := childCommand([]string{"strace", "-f", "-o", os.DevNull, "-e", "trace=flock", "-e", "inject=flock:delay_enter=500000:when=1"}, "open", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(path); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	s := openStore(t, path)
	appendTo(t, s, newRecord("first", time.Hour))
	closeStore(t, s)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := mustLoad(t, openStore(t, path)); !slices.Equal(got, []string{"first", "opened"}) {
		t.Errorf("records %v, want those of both", got)
	}
}

// TestReplacingIsDurable looks at the order of system calls: a file must be on
// the disk before it gets its name, and the name before anything is written to
// the file that is acknowledged. That can't be seen without a loss of power.
func TestReplacingIsDurable(t *testing.T) {
	needStrace(t)
	for name, prepare := range map[string]func(*testing.T, string) []string{
		"creation":   func(*testing.T, string) []string { return nil },
		"compaction": makeMostlyFree,
	} {
		t.Run(name, func(t *testing.T) {
			dir := memoryDir(t)
			path := filepath.Join(dir, "records.db")
			prepare(t, path)
			trace := filepath.Join(t.TempDir(), "trace")
			runChild(t, []string{"strace", "-f", "-y", "-s", "1024", "-o", trace, "-e", "trace=pwrite64,ftruncate,fdatasync,fsync,renameat"}, "open", path)
			log, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			synced, renamed, durable, used := false, false, false, false
			for line := range strings.Lines(string(log)) {
				isSync := strings.Contains(line, "fdatasync(") || strings.Contains(line, "fsync(")
				switch {
				case strings.Contains(line, "renameat("):
					if renamed = true; !synced {
						t.Error("the file got its name before it was on the disk")
					}
				case strings.Contains(line, "<"+path+newSuffix+">"):
					synced = isSync
				case strings.Contains(line, "<"+dir+">") && isSync:
					durable = renamed
				case strings.Contains(line, "<"+path+">") && !isSync && renamed:
					if used = true; !durable {
						t.Error("the file was written to before its name was on the disk")
					}
				}
			}
			if !renamed || !used {
				t.Errorf("the trace isn't understood:\n%s", log)
			}
		})
	}
}
