package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// faketime returns the library that gives a process a clock of its own.
func faketime(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	if len(found) == 0 {
		missing(t, "libfaketime")
	}
	return found[0]
}

// withClock is the environment of a process whose clock is as far ahead as a file says. The
// library reads the file whenever the process asks for the time, and leaves the clock alone
// that doesn't jump. Others can be loaded behind it.
func withClock(t testing.TB, file, others string) []string {
	t.Helper()
	return append(os.Environ(), "LD_PRELOAD="+faketime(t)+others, "FAKETIME_TIMESTAMP_FILE="+file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
}

// writeClock sets the clock of processes that have the file.
func writeClock(t testing.TB, file string, ahead time.Duration) {
	t.Helper()
	if err := os.WriteFile(file+".new", fmt.Appendf(nil, "%+d", int(ahead.Seconds())), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}
