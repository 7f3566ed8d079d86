package revocation

// This file finds revocations by what their records say. Nothing is indexed for it:
// the store is read from end to end, which takes about a second for a million
// records.

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Revocation is what was recorded under one id.
type Revocation struct {
	ID ID

	// Records are its blocks and cutoffs, at least one.
	Records []Record

	// Pending says that some of it is enforced but not durable.
	Pending bool

	// Reinstatement is the record that cancels it, nil if there is none.
	Reinstatement *Record
}

// Expires is when the last of its records may be forgotten.
func (r *Revocation) Expires() (last time.Time) {
	for i := range r.Records {
		last = later(last, r.Records[i].Expires)
	}
	return last
}

// Query says which revocations are wanted. The zero value of a field wants all.
type Query struct {
	Issuer        string  // of a record's selector
	Claims        []Claim // that a record's selector has
	Kind          Kind
	Shape         Shape
	Source, Actor string
	Since, Until  time.Time // of RecordedAt; Until is exclusive

	// Reinstated wants those that were cancelled instead of the live ones, All wants
	// both.
	Reinstated, All bool

	Limit int    // how many at most. Default: 50
	After Cursor // continues behind the last one of a page
}

// Page is a part of the revocations that were found, the newest first.
type Page struct {
	Revocations []Revocation
	Next        Cursor // for the next page; zero when there is none
}

// Cursor is a place between two revocations in the order of pages.
type Cursor struct {
	recorded int64 // milliseconds
	id       ID
}

// IsZero reports whether the cursor is where the first page begins.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String returns the cursor as ParseCursor reads it.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	return strconv.FormatInt(c.recorded, 10) + "." + c.id.String()
}

// ParseCursor reads what String returns.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	number, text, _ := strings.Cut(s, ".")
	recorded, err := strconv.ParseInt(number, 10, 64)
	id, err2 := ParseID(text)
	if err != nil || err2 != nil {
		return Cursor{}, errors.New("the cursor is not one that a page ended with")
	}
	return Cursor{recorded, id}, nil
}

func cursorAt(r *Record) Cursor { return Cursor{r.RecordedAt.UnixMilli(), r.ID} }

// compare orders the newest first.
func (c Cursor) compare(d Cursor) int {
	return cmp.Or(cmp.Compare(d.recorded, c.recorded), slices.Compare(d.id[:], c.id[:]))
}

const defaultLimit = 50

// Search returns revocations that have a record as wanted, the newest first. It
// reads the whole store twice.
func (l *List) Search(ctx context.Context, q Query) (Page, error) {
	limit := cmp.Or(q.Limit, defaultLimit)
	found := &newest{limit: limit + 1, known: map[ID]bool{}} // one more, to know whether there is a next page
	err := l.scan(ctx, func(r *Record, _ bool) {
		if r.Kind != Reinstatement && q.wants(r) && l.shown(r, q) && (q.After.IsZero() || cursorAt(r).compare(q.After) > 0) {
			found.add(cursorAt(r))
		}
	})
	if err != nil {
		return Page{}, err
	}
	slices.SortFunc(found.cursors, Cursor.compare)
	var page Page
	if len(found.cursors) > limit {
		found.cursors = found.cursors[:limit]
		page.Next = found.cursors[limit-1]
	}
	ids := make([]ID, len(found.cursors))
	for i, c := range found.cursors {
		ids[i] = c.id
	}
	page.Revocations, err = l.collect(ctx, ids)
	return page, err
}

// Find returns the revocation with an id, whether or not it is in force. The error
// wraps ErrUnknownRevocation.
func (l *List) Find(ctx context.Context, id ID) (Revocation, error) {
	all, err := l.collect(ctx, []ID{id})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%w: %s", ErrUnknownRevocation, id)
	}
	if err != nil {
		return Revocation{}, err
	}
	return all[0], nil
}

// InForce reports whether the revocation is in force: whether it has neither expired nor
// been cancelled.
func (l *List) InForce(r *Revocation) bool {
	return r.Reinstatement == nil && slices.ContainsFunc(r.Records, func(r Record) bool { return l.live(&r) })
}

// Records calls f with every record that is in force or cancels one that could be,
// until f returns an error, which it returns. The record is f's only until then.
func (l *List) Records(ctx context.Context, f func(*Record) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting := map[identity]bool{}
	err := l.scan(ctx, func(r *Record, pending bool) {
		if ctx.Err() != nil || !pending && waiting[identityOf(r)] || !l.live(r) {
			return
		}
		if pending {
			waiting[identityOf(r)] = true
		}
		if err := f(r); err != nil {
			cancel(err)
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// scan calls f with every record: first those that are pending, then those that are
// stored, among which they may be again.
func (l *List) scan(ctx context.Context, f func(r *Record, pending bool)) error {
	l.mu.Lock()
	waiting := slices.Clone(l.queue.waiting)
	l.mu.Unlock()
	for _, w := range waiting {
		for i := range w.records {
			f(&w.records[i], true)
		}
	}
	return l.forEach(ctx, nil, func(r *Record) { f(r, false) })
}

// wants reports whether the query is for a revocation with such a record.
func (q *Query) wants(r *Record) bool {
	for _, c := range q.Claims {
		if !slices.Contains(r.Selector.Claims, c) {
			return false
		}
	}
	switch {
	case q.Issuer != "" && r.Selector.Issuer != q.Issuer,
		q.Kind != 0 && r.Kind != q.Kind,
		q.Shape != "" && r.Selector.Shape() != q.Shape,
		q.Source != "" && r.Source != q.Source,
		q.Actor != "" && r.Actor != q.Actor,
		!q.Since.IsZero() && r.RecordedAt.Before(q.Since),
		!q.Until.IsZero() && !r.RecordedAt.Before(q.Until):
		return false
	}
	return true
}

// shown reports whether the record's revocation is in a state that is wanted.
func (l *List) shown(r *Record, q Query) bool {
	if !makeValue(uint32(r.Expires.Unix()), 0).live(l.clock.seconds()) {
		return false
	}
	l.mu.Lock()
	_, cancelled := l.cancelled[r.ID]
	l.mu.Unlock()
	return q.All || cancelled == q.Reinstated
}

// collect returns the revocations with the ids, in their order, as far as there are
// any.
func (l *List) collect(ctx context.Context, ids []ID) ([]Revocation, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := map[ID]*Revocation{}
	for _, id := range ids {
		found[id] = &Revocation{ID: id}
	}
	err := l.scan(ctx, func(r *Record, pending bool) {
		if r.Kind == Reinstatement {
			for _, id := range r.Reinstates {
				if rev := found[id]; rev != nil && rev.Reinstatement == nil {
					rev.Reinstatement = new(*r)
				}
			}
		} else if rev := found[r.ID]; rev != nil {
			rev.add(r, pending)
		}
	})
	if err != nil {
		return nil, err
	}
	var all []Revocation
	for _, id := range ids {
		if rev := found[id]; len(rev.Records) > 0 {
			all = append(all, *rev)
		}
	}
	return all, nil
}

// add adds a record unless it is there already.
func (r *Revocation) add(record *Record, pending bool) {
	r.Pending = r.Pending || pending
	if !slices.ContainsFunc(r.Records, func(known Record) bool { return identityOf(&known) == identityOf(record) }) {
		r.Records = append(r.Records, *record)
	}
}

// newest keeps the first so many cursors of those that are added, each id once. It is
// a heap with the last one on top.
type newest struct {
	limit   int
	cursors []Cursor
	known   map[ID]bool
}

func (n *newest) add(c Cursor) {
	if n.known[c.id] || len(n.cursors) == n.limit && c.compare(n.cursors[0]) > 0 {
		return
	}
	heap.Push(n, c)
	n.known[c.id] = true
	if len(n.cursors) > n.limit {
		delete(n.known, heap.Pop(n).(Cursor).id)
	}
}

// Len implements heap.Interface.
func (n *newest) Len() int { return len(n.cursors) }

// Less implements heap.Interface.
func (n *newest) Less(i, j int) bool { return n.cursors[i].compare(n.cursors[j]) > 0 }

// Swap implements heap.Interface.
func (n *newest) Swap(i, j int) { n.cursors[i], n.cursors[j] = n.cursors[j], n.cursors[i] }

// Push implements heap.Interface.
func (n *newest) Push(c any) { n.cursors = append(n.cursors, c.(Cursor)) }

// Pop implements heap.Interface.
func (n *newest) Pop() any {
	last := n.cursors[len(n.cursors)-1]
	n.cursors = n.cursors[:len(n.cursors)-1]
	return last
}
