//go:build !linux

package boltstore

import "testing"

func memoryDir(t testing.TB) string { return t.TempDir() }
