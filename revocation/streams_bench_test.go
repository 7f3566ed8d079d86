package revocation

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// What an open stream costs a revocation: nothing where none is open.
func BenchmarkStreamsHit(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprint("of ", n, " none"), func(b *testing.B) {
			s := NewStreams()
			for i := range n {
				s.Open(func(Verdict) {}, userToken(i))
			}
			e := newIndex().entry(&Record{Kind: Block, Selector: SelectToken(Fingerprint{9, 9, 9, 9})})
			b.ReportAllocs()
			for b.Loop() {
				s.hit(e)
			}
		})
	}
	// A user with a thousand streams is revoked, by a shape that is new.
	b.Run("1000 of 10000", func(b *testing.B) {
		r := block(mustSelect(b, iss, Claim{RoleSubject, "user-3"}))
		e := newIndex().entry(&r)
		for b.Loop() {
			b.StopTimer()
			s := NewStreams()
			var cut sync.WaitGroup
			cut.Add(1000)
			for i := range 10_000 {
				s.Open(func(Verdict) { cut.Done() }, userToken(i))
			}
			b.StartTimer()
			s.hit(e)
			cut.Wait()
		}
	})
}

// userToken is one of the tokens of ten users.
func userToken(i int) *Facts {
	return &Facts{Fingerprint: Fingerprint{byte(i), byte(i >> 8), byte(i >> 16)}, Issuers: []string{iss}, Claims: []Claim{
		{RoleSubject, fmt.Sprint("user-", i%10)}, {RoleTokenID, fmt.Sprint("jti-", i)}, {RoleSession, fmt.Sprint("sid-", i)},
	}}
}

// BenchmarkStreamMemory prints what an open stream takes besides its token's facts, when
// records of one shape exist and of five.
func BenchmarkStreamMemory(b *testing.B) {
	for _, shapes := range []int{1, 5} {
		b.Run(fmt.Sprint(shapes, " shapes"), func(b *testing.B) {
			const n = 100_000
			tokens := make([]*Facts, n)
			for i := range tokens {
				tokens[i] = userToken(i)
			}
			for b.Loop() {
				s := NewStreams()
				for _, c := range []Selector{
					mustSelect(b, iss), mustSelect(b, iss, Claim{RoleSubject, "x"}),
					mustSelect(b, iss, Claim{RoleTokenID, "x"}), mustSelect(b, iss, Claim{RoleSession, "x"}),
				}[:shapes-1] {
					r := block(c)
					s.makeRoom(newIndex().entry(&r).group)
				}
				before := heapBytes()
				for _, f := range tokens {
					s.Open(func(Verdict) {}, f)
				}
				b.ReportMetric(float64(heapBytes()-before)/n, "B/stream")
				runtime.KeepAlive(s)
			}
		})
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
