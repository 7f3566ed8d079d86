package gate

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestNobodyIsInsideAfterWait(t *testing.T) {
	for range 200 {
		g := New()
		var inside atomic.Int64
		var visitors sync.WaitGroup
		for range 4 {
			visitors.Go(func() {
				for g.Enter() {
					inside.Add(1)
					inside.Add(-1)
					g.Leave()
				}
			})
		}
		var first atomic.Int64
		for range 2 {
			visitors.Go(func() {
				if g.Close() {
					first.Add(1)
				}
				g.Wait()
				if n := inside.Load(); n != 0 {
					t.Errorf("%d are inside after Wait", n)
				}
			})
		}
		visitors.Wait()
		if first.Load() != 1 {
			t.Errorf("%d calls of Close say that they were the first", first.Load())
		}
		select {
		case <-g.Closing():
		default:
			t.Error("Closing isn't closed")
		}
	}
}
