package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/boltstore"
)

func init() {
	caddy.RegisterModule(BoltStore{})
}

// BoltStore keeps revocations in a file on this machine. It needs nothing
// installed. Only one Caddy process can use the file.
type BoltStore struct {
	// The file. Its folder is created if need be. Default:
	// `token_revocation/records.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (BoltStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appID + ".stores.bolt",
		New: func() caddy.Module { return new(BoltStore) },
	}
}

// Provision fills in the path.
func (b *BoltStore) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(b.Path, true, true)
	if err != nil {
		return fmt.Errorf("path: %v", err)
	}
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), appID, "records.db")
	}
	if b.Path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("path %q: %v", path, err)
	}
	return nil
}

// StoreKey implements Store. One file has one key, also where a link leads to
// it.
func (b *BoltStore) StoreKey() string {
	dir, file := filepath.Split(b.Path)
	if real, err := filepath.EvalSymlinks(b.Path); err == nil {
		return "bolt:" + real
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return "bolt:" + filepath.Join(real, file)
	}
	return "bolt:" + b.Path
}

// OpenStore implements Store.
func (b *BoltStore) OpenStore(ctx context.Context, logger *slog.Logger) (revocation.Store, error) {
	return boltstore.Open(ctx, b.Path, boltstore.Options{Logger: logger})
}

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	bolt [<path>]
func (b *BoltStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		b.Path = d.Val()
		if b.Path == "" {
			return d.Err("the path of the store is empty")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unrecognized subdirective '%s': the store 'bolt' takes its path as an argument and has no block", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ Store                 = (*BoltStore)(nil)
	_ caddy.Provisioner     = (*BoltStore)(nil)
	_ caddyfile.Unmarshaler = (*BoltStore)(nil)
)
