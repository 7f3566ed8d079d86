// Where there is no flock, bolt's own lock is the only one, and an open file
// can't be replaced, or not safely.

//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package boltstore

import (
	"errors"
	"os"
)

const canReplace = false

var errLocked = errors.New("locked by another")

func tryLock(*os.File) error               { return nil }
func unlock(*os.File) error                { return nil }
func syncDir(string) error                 { return nil }
func keepOwner(_, original *os.File) error { return nil }
