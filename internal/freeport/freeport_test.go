package freeport

import (
	"fmt"
	"net"
	"testing"
)

func TestNextIsFreeAndAnotherOne(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port := Next(t)
		if seen[port] || port < first || port >= first+count {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}
