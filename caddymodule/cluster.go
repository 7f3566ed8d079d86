package caddymodule

// This file is about lists whose store other nodes write to as well: how long they may go
// without it, and what this node keeps of them.

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/boltstore"
)

// What on_stale may be.
const (
	staleDeny  = "deny"
	staleAllow = "allow"
)

// What warm_start may be.
const (
	warmOn  = "on"
	warmOff = "off"
)

// Bounds of max_staleness. Below, the feed would hardly ever be in time; above, nobody
// could call it a bound.
const (
	minMaxStaleness = time.Second
	maxMaxStaleness = 24 * time.Hour
)

// SharedStore is implemented by Stores that other nodes write to as well.
type SharedStore interface {
	Store

	// Settings are all that the store is opened with, secrets included: a configuration
	// that changes any of it opens the store anew. They are hashed and not kept.
	Settings() []byte
}

// Durable is implemented by what such Stores open.
type Durable interface {
	// Durability says in a word what becomes of acknowledged records when the server
	// fails: durabilityVerified, durabilityStated, or what is less. It is empty as long as
	// the server wasn't reached.
	Durability() string
}

// durabilityVerified is the durability of a server that has on its disk what it
// acknowledges.
const durabilityVerified = "verified"

// durabilityStated is the durability of a server of which the configuration says the same,
// where the server itself doesn't tell.
const durabilityStated = "stated"

// Numbered is implemented by what such Stores open, if what is in them is numbered.
type Numbered interface {
	// Number returns how many entries came up to a position, those that are forgotten
	// included.
	Number(revocation.Position) (uint64, bool)
}

// validateCluster checks what the app has for such stores.
func (a *App) validateCluster() error {
	if d := time.Duration(a.MaxStaleness); d != 0 && (d < minMaxStaleness || d > maxMaxStaleness) {
		return fmt.Errorf("max_staleness is %s, possible is from %s to %s", d, minMaxStaleness, maxMaxStaleness)
	}
	if err := validateOnStale(a.OnStale); err != nil {
		return err
	}
	switch a.WarmStart {
	case "", warmOn, warmOff:
		return nil
	}
	return fmt.Errorf("warm_start is %q, possible are on and off", a.WarmStart)
}

func validateOnStale(s string) error {
	switch s {
	case "", staleDeny, staleAllow:
		return nil
	}
	return fmt.Errorf("on_stale is %q, possible are deny and allow", s)
}

// maxStaleness returns a setter for oneArg that takes how old a view may be.
func maxStaleness(to *caddy.Duration) func(string) error {
	return func(s string) error {
		d, err := caddy.ParseDuration(s)
		if err == nil && (d < minMaxStaleness || d > maxMaxStaleness) {
			err = fmt.Errorf("it is between %s and %s", minMaxStaleness, maxMaxStaleness)
		}
		*to = caddy.Duration(d)
		return err
	}
}

// poolSalt keeps the keys of lists from telling anything about the secrets in them.
var poolSalt = sync.OnceValue(func() []byte {
	salt := make([]byte, 32)
	rand.Read(salt) // never fails
	return salt
})

// poolKey is the key of the app's list. That of a shared store has all that the list
// depends on: a new password is of no use to a list that was opened with the old one.
func (a *App) poolKey() string {
	shared, ok := a.store.(SharedStore)
	if !ok {
		return a.key
	}
	canonical, _ := json.Marshal([]any{poolSalt(), shared.Settings(), a.MaxStaleness, a.WarmStart}) // can't fail
	sum := sha256.Sum256(canonical)
	return a.key + "\x00" + hex.EncodeToString(sum[:])
}

// openStore is what a list was opened with.
type openStore struct {
	store   revocation.Store
	replica string // the file; empty without one
}

// openStore opens the app's store and the list of what is in it.
func (a *App) openStore(options revocation.Options) (list *revocation.List, opened openStore, err error) {
	ctx := context.Background()
	if opened.store, err = a.store.OpenStore(ctx, options.Logger); err != nil {
		return nil, opened, err
	}
	if _, ok := opened.store.(revocation.Feed); ok {
		a.setFeedOptions(&options)
	}
	if options.Replica != nil {
		opened.replica = replicaPath(a.key)
	}
	list, err = revocation.Open(ctx, opened.store, options)
	if err == nil || options.Replica == nil {
		return list, opened, err
	}
	options.Logger.Warn("the local copy of the revocation list can't be read; it is kept in memory until Caddy is started again", "error", err)
	options.Replica, opened.replica = nil, ""
	if opened.store, err = a.store.OpenStore(ctx, options.Logger); err != nil {
		return nil, opened, err
	}
	list, err = revocation.Open(ctx, opened.store, options)
	return list, opened, err
}

// begin brings a list that was just opened to what its store and other lists know.
func (a *App) begin(opened sharedList) error {
	ctx := context.Background()
	if _, ok := opened.store.(revocation.Feed); ok {
		awaitFresh(opened.List, a.logger)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, takeOverTimeout)
		defer cancel()
	}
	return succeed(ctx, opened.List)
}

// setFeedOptions adds those of a list that follows a feed.
func (a *App) setFeedOptions(o *revocation.Options) {
	o.MaxStaleness = time.Duration(a.MaxStaleness)
	o.NodeName, _ = os.Hostname() // for people: nothing depends on it
	o.Version = moduleVersion()
	if a.WarmStart != warmOff {
		if replica := openReplica(replicaPath(a.key), o.Logger); replica != nil {
			o.Replica = replica
		}
	}
}

// replicaPath is where this node keeps what it knows of a store.
func replicaPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(caddy.AppDataDir(), appID, "replica-"+hex.EncodeToString(sum[:6])+".db")
}

// replicas holds the open replicas by their path: two configurations with one store have
// lists of their own when they differ in the password, say, and one file.
var replicas = caddy.NewUsagePool()

// replicaFile is a replica in the pool.
type replicaFile struct{ *boltstore.Store }

// Destruct implements caddy.Destructor.
func (f replicaFile) Destruct() error { return f.Close() }

// replica is a list's use of a replica.
type replica struct {
	*boltstore.Store
	path string
	once sync.Once
}

// Close implements revocation.Store.
func (r *replica) Close() (err error) {
	r.once.Do(func() { _, err = replicas.Delete(r.path) })
	return err
}

// replicaLockTimeout is how long another process may still have the replica. Caddy starts
// without it rather than late.
const replicaLockTimeout = time.Second

// openReplica returns nil when the replica can't be opened: then the list is kept in memory.
func openReplica(path string, logger *slog.Logger) *replica {
	value, _, err := replicas.LoadOrNew(path, func() (caddy.Destructor, error) {
		store, err := boltstore.Open(context.Background(), path, boltstore.Options{Logger: logger, LockTimeout: replicaLockTimeout})
		return replicaFile{store}, err
	})
	if err == nil {
		return &replica{Store: value.(replicaFile).Store, path: path}
	}
	remedy := "see to what the error says"
	switch {
	case errors.Is(err, revocation.ErrStoreCorrupt), errors.Is(err, revocation.ErrStoreVersion):
		remedy = "delete the file, the store has all that was in it"
	case errors.Is(err, revocation.ErrStoreInUse):
		remedy = "give each Caddy a data directory of its own"
	}
	logger.Warn("the local copy of the revocation list can't be used; it is kept in memory until Caddy is started again, and then nothing is known before the store answers",
		"error", err, "remedy", remedy)
	return nil
}

// freshTimeout is how long a start waits for the store: so that the first requests aren't
// refused, and no longer, since the store may be away.
const freshTimeout = 3 * time.Second

// awaitFresh waits until the list knows all that its store has.
func awaitFresh(list *revocation.List, logger *slog.Logger) {
	for end := time.Now().Add(freshTimeout); ; time.Sleep(5 * time.Millisecond) {
		f := list.Freshness()
		if f.Fresh {
			return
		}
		if time.Now().After(end) {
			logger.Error("the revocation store doesn't answer yet; what this node knows is enforced, and on_stale decides about other tokens",
				"error", f.Cause, "known", list.LiveTotal())
			return
		}
	}
}

// takeOverTimeout bounds how long a list may take to make another one's revocations durable in
// a store that may be away. The reload fails then, and the configuration before it goes on.
const takeOverTimeout = 30 * time.Second

// succeed carries the revocations of the configuration that is being replaced
// over to a list with another store.
func succeed(ctx context.Context, list *revocation.List) error {
	var others []*revocation.List
	lists.Range(func(_, value any) bool {
		if l := value.(sharedList).List; l != list {
			others = append(others, l)
		}
		return true
	})
	for _, other := range others {
		err := other.HandOver(ctx, list)
		if err != nil && !errors.Is(err, revocation.ErrListClosed) {
			return err
		}
	}
	return nil
}
