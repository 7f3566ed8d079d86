package revocation

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// A table is an exact map from Key to value for one kind and shape, made for
// one purpose: that look-ups take no lock and no allocation, see every insert
// that returned before they began, and leave the garbage collector nothing to
// scan with ten million keys in it.
//
// Keys are spread over shards. A shard is a slice of slots with linear probing,
// at most three quarters full. Nothing is ever removed from it: readers ignore
// what has expired, and a shard that is full or worth tidying is copied, without
// its expired keys, and replaced as a whole.
type table struct {
	shards [shardCount]shard
	keys   atomic.Int64 // in all shards, expired ones that weren't swept included
	factor uint64       // odd and secret, see place
}

const (
	shardBits  = 8
	shardCount = 1 << shardBits
	minSlots   = 8
)

// value holds the expiry in its upper and the cutoff in its lower 32 bits, in
// Unix seconds. A block has no cutoff. The zero value is expired.
type value uint64

func makeValue(expires, cutoff uint32) value { return value(expires)<<32 | value(cutoff) }

func (v value) expires() uint32 { return uint32(v >> 32) }
func (v value) cutoff() uint32  { return uint32(v) }

// live reports whether the value still counts at the given Unix second.
func (v value) live(now uint32) bool { return v.expires() > now || v.expires() == neverSeconds }

const neverSeconds = 1<<32 - 1

// merge returns what two records of one key amount to: each half is the later.
func (v value) merge(w value) value {
	return makeValue(max(v.expires(), w.expires()), max(v.cutoff(), w.cutoff()))
}

type shard struct {
	mu    sync.Mutex // held by writers
	used  int        // slots taken in slots
	slots atomic.Pointer[[]slot]
}

// slot is written in the order value, k1, k0 and k0 never changes again, so a
// reader that sees k0 sees the rest. A k0 of zero is an empty slot.
type slot struct{ k0, k1, value atomic.Uint64 }

func newTable() *table { return &table{factor: rand.Uint64() | 1} }

// place splits a key and says where it belongs. The factor keeps anybody who
// can choose keys (by choosing tokens to revoke) from crowding them together.
func (t *table) place(k Key) (k0, k1, hash uint64) {
	k0 = max(binary.LittleEndian.Uint64(k[:8]), 1)
	k1 = binary.LittleEndian.Uint64(k[8:])
	return k0, k1, k0 * t.factor
}

func (t *table) shard(hash uint64) *shard { return &t.shards[hash>>(64-shardBits)] }

// first returns the slot at which probing for the hash begins. The shard has
// used up the hash's upper bits.
func first(hash uint64, slots []slot) int {
	hi, _ := bits.Mul64(hash<<shardBits, uint64(len(slots)))
	return int(hi)
}

// get returns the key's value. It takes no lock.
func (t *table) get(k Key) (value, bool) {
	k0, k1, hash := t.place(k)
	slots := t.shard(hash).slots.Load()
	if slots == nil {
		return 0, false
	}
	if s, found := find(*slots, k0, k1, hash); found {
		return value(s.value.Load()), true
	}
	return 0, false
}

// find returns the key's slot, or the empty one where it would be put.
func find(slots []slot, k0, k1, hash uint64) (s *slot, found bool) {
	for i := first(hash, slots); ; i++ {
		if i == len(slots) {
			i = 0
		}
		s := &slots[i]
		switch s.k0.Load() {
		case 0:
			return s, false
		case k0:
			if s.k1.Load() == k1 {
				return s, true
			}
		}
	}
}

// merge adds the value to what the key has.
func (t *table) merge(k Key, v value, now uint32) {
	t.update(k, now, func(old value) value { return old.merge(v) })
}

// set replaces the key's value.
func (t *table) set(k Key, v value, now uint32) {
	t.update(k, now, func(value) value { return v })
}

func (t *table) update(k Key, now uint32, change func(old value) value) {
	k0, k1, hash := t.place(k)
	sh := t.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	slots := sh.slots.Load()
	if slots != nil {
		if s, found := find(*slots, k0, k1, hash); found {
			s.value.Store(uint64(change(value(s.value.Load()))))
			return
		}
	}
	if slots == nil || 4*(sh.used+1) > 3*len(*slots) {
		slots = t.rebuild(sh, now)
	}
	s, _ := find(*slots, k0, k1, hash)
	put(s, k0, k1, change(0))
	sh.used++
	t.keys.Add(1)
}

func put(s *slot, k0, k1 uint64, v value) {
	s.value.Store(uint64(v))
	s.k1.Store(k1)
	s.k0.Store(k0)
}

// rebuild replaces the shard's slots by new ones that are half full with its
// live keys. The caller holds the shard's lock.
func (t *table) rebuild(sh *shard, now uint32) *[]slot {
	var old []slot
	if p := sh.slots.Load(); p != nil {
		old = *p
	}
	live := countLive(old, now)
	fresh := make([]slot, max(2*live, minSlots))
	for i := range old {
		s := &old[i]
		v := value(s.value.Load())
		if s.k0.Load() == 0 || !v.live(now) {
			continue
		}
		k0, k1 := s.k0.Load(), s.k1.Load()
		free, _ := find(fresh, k0, k1, k0*t.factor)
		put(free, k0, k1, v)
	}
	t.keys.Add(int64(live - sh.used))
	sh.used = live
	sh.slots.Store(&fresh)
	return &fresh
}

func countLive(slots []slot, now uint32) (live int) {
	for i := range slots {
		if slots[i].k0.Load() != 0 && value(slots[i].value.Load()).live(now) {
			live++
		}
	}
	return live
}

// sweep forgets the expired keys of one shard when they are an eighth of it or
// all of it.
func (t *table) sweep(n int, now uint32) {
	sh := &t.shards[n]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.used == 0 {
		return
	}
	live := countLive(*sh.slots.Load(), now)
	switch {
	case live == 0:
		t.keys.Add(int64(-sh.used))
		sh.used = 0
		sh.slots.Store(nil)
	case 8*(sh.used-live) >= sh.used:
		t.rebuild(sh, now)
	}
}

// bytes returns the memory that the slots take.
func (t *table) bytes() (n int64) {
	for i := range t.shards {
		if slots := t.shards[i].slots.Load(); slots != nil {
			n += int64(len(*slots)) * 24
		}
	}
	return n
}
