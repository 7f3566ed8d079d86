// Reading a file before bolt does. Bolt believes what it maps: a reference to
// nowhere is a fault, one to a page above is an endless recursion that ends the
// process, a wrong free list overwrites records. Nothing of that can be caught
// afterwards, so it is looked for before. The pass also brings the file into
// the page cache in about its order, which bolt's own accesses wouldn't: it
// tells the kernel that they are random.

package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// What bbolt's file format, version 2, is made of. Numbers have the byte order
// of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	headerSize  = 16 // of a page: id 8, flags 2, count 2, overflow 4
	metaSize    = 56 // without its checksum of 8
	elementSize = 16 // of a branch or leaf page
	bucketSize  = 16 // of a bucket's value: root page 8, sequence 8

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketFlag = 0x01 // of a leaf's element

	// maxDepth is more than a tree can have whose pages have two children each.
	maxDepth = 64
	// manyFree is the count of a freelist page whose real count comes first.
	manyFree = 0xFFFF
)

var native = binary.NativeEndian

// fileImage is what checkFile found.
type fileImage struct {
	pageSize int64
	pages    uint64 // in use or free
	free     uint64
	leaked   uint64 // neither
	records  int64
	// torn says that one of the two meta pages can't be read: the last
	// transaction was not completed, or is lost.
	torn bool
}

// freeBytes returns how much of the file is free.
func (i fileImage) freeBytes() int64 { return int64(i.free) * i.pageSize }

// checkFile reads a bolt file of so many bytes and reports whether bolt can be
// trusted with it. The error wraps ErrStoreCorrupt or ErrStoreVersion, or is
// that of reading, or ctx's.
func checkFile(ctx context.Context, f io.ReaderAt, size int64) (fileImage, error) {
	m, err := currentMeta(f, size)
	if err != nil {
		return fileImage{}, err
	}
	switch {
	case m.pageSize < 1024 || m.pageSize&(m.pageSize-1) != 0:
		return fileImage{}, corrupt("its pages have %d bytes", m.pageSize)
	case m.pages < 4 || m.pages > uint64(size)/uint64(m.pageSize):
		return fileImage{}, corrupt("it has %d bytes, of %d pages of %d bytes: it was cut off", size, m.pages, m.pageSize)
	case m.freelist == ^uint64(0):
		return fileImage{}, corrupt("it has no free list; `bbolt surgery freelist rebuild` makes one")
	}
	c := &checker{ctx: ctx, f: f, meta: m, seen: make([]bool, m.pages)}
	c.seen[0], c.seen[1] = true, true
	if err := c.tree(m.root, 0, 0, nil, nil); err != nil {
		return fileImage{}, err
	}
	free, err := c.freelist()
	if err != nil {
		return fileImage{}, err
	}
	image := fileImage{pageSize: m.pageSize, pages: m.pages, free: free, records: c.records, torn: m.torn}
	for _, seen := range c.seen {
		if !seen {
			image.leaked++
		}
	}
	return image, nil
}

type boltMeta struct {
	pageSize              int64
	root, freelist, pages uint64
	txid                  uint64
	torn                  bool
}

var (
	errNoMeta      = errors.New("not a meta page")
	errMetaVersion = errors.New("a meta page of another version")
)

func parseMeta(page []byte) (boltMeta, error) {
	b := page[headerSize:]
	if native.Uint32(b) != boltMagic {
		return boltMeta{}, errNoMeta
	}
	if v := native.Uint32(b[4:]); v != boltVersion {
		return boltMeta{}, fmt.Errorf("%w: %d", errMetaVersion, v)
	}
	h := fnv.New64a()
	h.Write(b[:metaSize])
	if native.Uint64(b[metaSize:]) != h.Sum64() {
		return boltMeta{}, errNoMeta
	}
	return boltMeta{
		pageSize: int64(native.Uint32(b[8:])),
		root:     native.Uint64(b[16:]),
		freelist: native.Uint64(b[32:]),
		pages:    native.Uint64(b[40:]),
		txid:     native.Uint64(b[48:]),
	}, nil
}

// currentMeta returns the meta page that bolt will go by: of the readable ones
// that with the higher transaction id. The second lies behind the first, at the
// page size, which only they tell.
func currentMeta(f io.ReaderAt, size int64) (boltMeta, error) {
	var found []boltMeta
	var version error
	page := make([]byte, headerSize+metaSize+8)
	read := func(at int64) error {
		if at+int64(len(page)) > size {
			return nil
		}
		if _, err := f.ReadAt(page, at); err != nil {
			return err
		}
		m, err := parseMeta(page)
		switch {
		case errors.Is(err, errMetaVersion):
			version = err
		case err == nil:
			found = append(found, m)
		}
		return nil
	}
	if err := read(0); err != nil {
		return boltMeta{}, err
	}
	if len(found) == 1 {
		if err := read(found[0].pageSize); err != nil {
			return boltMeta{}, err
		}
	}
	for at := int64(1024); len(found) == 0 && at <= 16<<20; at *= 2 {
		if err := read(at); err != nil {
			return boltMeta{}, err
		}
	}
	switch {
	case len(found) == 0 && version != nil:
		return boltMeta{}, fmt.Errorf("%w: the bolt file has %w, this program reads %d", revocation.ErrStoreVersion, version, boltVersion)
	case len(found) == 0:
		return boltMeta{}, corrupt("it isn't a bolt file, or its meta pages are damaged")
	case len(found) == 1:
		found[0].torn = true
		return found[0], nil
	case found[1].txid > found[0].txid:
		return found[1], nil
	}
	return found[0], nil
}

// checker walks the trees of a file.
type checker struct {
	ctx     context.Context
	f       io.ReaderAt
	meta    boltMeta
	seen    []bool // by page
	records int64
	read    int
	levels  [maxDepth]struct { // space for one page of each level of the walk
		page  []byte
		items []item
	}
}

// item is an element of a branch or leaf page.
type item struct {
	flags      uint32
	key, value []byte
	child      uint64
}

// page reads a page with what overflows from it.
func (c *checker) page(id uint64, depth int) ([]byte, error) {
	if c.read++; c.read%1024 == 0 && c.ctx.Err() != nil {
		return nil, c.ctx.Err()
	}
	if depth >= maxDepth {
		return nil, corrupt("page %d lies %d levels deep", id, depth)
	}
	if err := c.claim(id); err != nil {
		return nil, err
	}
	level := &c.levels[depth]
	n := c.meta.pageSize
	level.page = grow(level.page, n)
	if _, err := c.f.ReadAt(level.page, int64(id)*n); err != nil {
		return nil, err
	}
	if got := native.Uint64(level.page); got != id {
		return nil, corrupt("page %d says that it is page %d", id, got)
	}
	overflow := uint64(native.Uint32(level.page[12:]))
	for i := range overflow {
		if err := c.claim(id + 1 + i); err != nil {
			return nil, err
		}
	}
	if overflow > 0 {
		level.page = grow(level.page, n*int64(1+overflow))
		if _, err := c.f.ReadAt(level.page[n:], int64(id+1)*n); err != nil {
			return nil, err
		}
	}
	return level.page, nil
}

// claim notes that a page is used, once.
func (c *checker) claim(id uint64) error {
	if id < 2 || id >= c.meta.pages {
		return corrupt("it refers to page %d of %d", id, c.meta.pages)
	}
	if c.seen[id] {
		return corrupt("page %d is used twice", id)
	}
	c.seen[id] = true
	return nil
}

// tree walks a page and those below it, whose keys must lie from low up to but
// without high, where those aren't nil. Buckets lie in buckets: records are at
// nesting 2.
func (c *checker) tree(id uint64, depth, nesting int, low, high []byte) error {
	page, err := c.page(id, depth)
	if err != nil {
		return err
	}
	level := &c.levels[depth]
	if level.items, _, err = readItems(page, level.items[:0], low, high); err != nil {
		return fmt.Errorf("%w (page %d)", err, id)
	}
	if native.Uint16(page[8:]) == leafPage {
		for _, it := range level.items {
			if err := c.leafItem(it, depth, nesting); err != nil {
				return fmt.Errorf("%w (page %d)", err, id)
			}
		}
		return nil
	}
	if len(level.items) == 0 {
		return corrupt("branch page %d has no children", id)
	}
	for i, it := range level.items {
		end := high
		if i+1 < len(level.items) {
			end = level.items[i+1].key
		}
		if err := c.tree(it.child, depth+1, nesting, it.key, end); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) leafItem(it item, depth, nesting int) error {
	switch {
	case it.flags == 0 && nesting == 2:
		c.records++
		return nil
	case it.flags == 0:
		return nil
	case it.flags != bucketFlag || len(it.value) < bucketSize:
		return corrupt("a bucket is damaged")
	}
	if root := native.Uint64(it.value); root != 0 {
		return c.tree(root, depth+1, nesting+1, nil, nil)
	}
	// A small bucket is a page in the value.
	inline := it.value[bucketSize:]
	if len(inline) < headerSize || native.Uint16(inline[8:]) != leafPage {
		return corrupt("a small bucket is damaged")
	}
	items, end, err := readItems(inline, nil, nil, nil)
	if err != nil || end != len(inline) {
		return corrupt("a small bucket is damaged")
	}
	for _, it := range items {
		if it.flags != 0 {
			return corrupt("a small bucket has buckets")
		}
	}
	if nesting == 1 {
		c.records += int64(len(items))
	}
	return nil
}

// readItems appends the elements of a branch or leaf page to items and returns
// where they end. Bolt writes keys and values behind one another in the order
// of the elements, so that a wrong count, position or size shows.
func readItems(page []byte, items []item, low, high []byte) ([]item, int, error) {
	flags, count := native.Uint16(page[8:]), int(native.Uint16(page[10:]))
	if flags != leafPage && flags != branchPage {
		return nil, 0, corrupt("a page has the flags %x where a branch or leaf page must be", flags)
	}
	end := uint64(headerSize + count*elementSize)
	if end > uint64(len(page)) {
		return nil, 0, corrupt("a page counts %d elements", count)
	}
	// Bolt clears a page before it fills it.
	if count == 0 && len(page) >= headerSize+elementSize && [elementSize]byte(page[headerSize:]) != [elementSize]byte{} {
		return nil, 0, corrupt("a page counts no elements, but has some")
	}
	for i := range count {
		at := headerSize + i*elementSize
		e := page[at : at+elementSize]
		var it item
		var pos, keySize, valueSize uint64
		if flags == leafPage {
			it.flags, pos = native.Uint32(e), uint64(native.Uint32(e[4:]))
			keySize, valueSize = uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
		} else {
			pos, keySize, it.child = uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])), native.Uint64(e[8:])
		}
		if keySize == 0 || uint64(at)+pos != end || keySize+valueSize > uint64(len(page))-end {
			return nil, 0, corrupt("an element lies out of place")
		}
		it.key = page[end : end+keySize]
		it.value = page[end+keySize : end+keySize+valueSize]
		end += keySize + valueSize
		tooLow := i == 0 && bytes.Compare(it.key, low) < 0 || i > 0 && bytes.Compare(it.key, items[i-1].key) <= 0
		if tooLow || high != nil && bytes.Compare(it.key, high) >= 0 {
			return nil, 0, corrupt("a key is out of order")
		}
		items = append(items, it)
	}
	return items, int(end), nil
}

// freelist returns how many pages are free, none of which may be in use.
func (c *checker) freelist() (uint64, error) {
	page, err := c.page(c.meta.freelist, 0)
	if err != nil {
		return 0, err
	}
	if native.Uint16(page[8:]) != freelistPage {
		return 0, corrupt("page %d isn't the free list", c.meta.freelist)
	}
	ids, count := page[headerSize:], uint64(native.Uint16(page[10:]))
	if count == manyFree {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return 0, corrupt("its free list counts %d pages", count)
	}
	for i := range count {
		if err := c.claim(native.Uint64(ids[8*i:])); err != nil {
			return 0, fmt.Errorf("%w (free list)", err)
		}
	}
	return count, nil
}

// grow returns b with a length of n and what it held.
func grow(b []byte, n int64) []byte {
	if int64(cap(b)) >= n {
		return b[:n]
	}
	return append(make([]byte, 0, n), b...)[:n]
}
