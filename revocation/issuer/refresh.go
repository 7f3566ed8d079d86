package issuer

// This file fetches keys, and keeps those that stay: what rests on a key counts until
// the key is withdrawn.

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

// current returns the keys to verify with. Old ones are renewed in the background;
// only very old ones are waited for, and used all the same if there are no newer ones.
// Once that has failed, nobody waits: an issuer that hangs would hold up every token.
func (k *Keys) current(ctx context.Context) *keySet {
	set := k.known.Load()
	if k.locate == nil {
		return set
	}
	now := k.now()
	switch old := age(now, set.at); {
	case set.at.IsZero(), old > 2*k.interval && set.err == nil:
		// Status and the log have the error.
		_ = k.Refresh(ctx)
		return k.known.Load()
	case old > k.interval:
		k.renew(set, now)
	}
	return set
}

// renew fetches the keys in the background.
func (k *Keys) renew(set *keySet, now time.Time) {
	if set.recent(now) || !k.renewing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer k.renewing.Store(false)
		_ = k.Refresh(context.Background())
	}()
}

// watched reports whether somebody looked lately which keys are withdrawn, and sees to
// it that somebody does: those who present known tokens verify nothing. It doesn't wait.
// While the issuer doesn't answer, the keys that are known count.
func (k *Keys) watched(now time.Time) bool {
	set := k.known.Load()
	if k.locate == nil || age(now, set.at) <= k.interval {
		return true
	}
	if set.err == nil && age(now, set.at) > 2*k.interval {
		return false // Verify waits for newer keys
	}
	k.renew(set, now)
	return true
}

// Refresh fetches the keys, unless that was tried within the last 10 s, or the last
// second when there are none yet: then it returns what became of it. Concurrent callers share one call, which goes on when ctx ends.
// The keys that are known stay known if it fails. The error wraps
// revocation.ErrIssuerUnavailable.
func (k *Keys) Refresh(ctx context.Context) error {
	if k.locate == nil {
		return nil
	}
	if set := k.known.Load(); set.recent(k.now()) {
		return set.err
	}
	flight := k.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
		defer cancel()
		return nil, k.refresh(ctx)
	})
	select {
	case result := <-flight:
		return result.Err
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

// recent reports whether keys were asked for so lately that they aren't again.
func (s *keySet) recent(now time.Time) bool {
	return !s.tried.IsZero() && age(now, s.tried) < s.wait
}

// pause is how long to wait after a try. An issuer that never answered yet may be
// about to start, as this server may be that it is behind: that is soon worth another
// try.
func pause(never bool, err error, before time.Duration) time.Duration {
	if err == nil || !never {
		return minRefresh
	}
	return min(max(2*before, firstRetry), minRefresh)
}

// refresh is called by one goroutine at a time.
func (k *Keys) refresh(ctx context.Context) error {
	before := k.known.Load()
	if before.recent(k.now()) {
		return before.err // another call ended after the caller looked
	}
	after := &keySet{keys: before.keys, at: before.at, digest: before.digest}
	keys, digest, err := k.fetch(ctx)
	after.tried, after.err = k.now(), unavailable(err)
	after.wait = pause(before.at.IsZero(), err, before.wait)
	if err == nil {
		after.keys, after.at, after.digest = keep(keys, before.keys), after.tried, digest
	}
	k.known.Store(after)
	added, withdrawn := without(after.keys, before.keys), without(before.keys, after.keys)
	for _, gone := range withdrawn {
		gone.withdrawn.Store(true)
	}
	switch {
	case err != nil && before.err == nil:
		k.logger.Warn("the keys can't be fetched, those that are known stay in use", "keys", len(after.keys), "error", err)
	case err == nil && (before.err != nil || len(added)+len(withdrawn) > 0):
		k.logger.Info("the keys were fetched", "keys", len(after.keys), "new", len(added), "withdrawn", len(withdrawn))
	}
	return after.err
}

// fetch returns the keys as they are published now.
func (k *Keys) fetch(ctx context.Context) (keys []*key, digest [sha256.Size]byte, err error) {
	url, err := k.locate(ctx)
	if err != nil {
		return nil, digest, err
	}
	body, err := k.get(ctx, url)
	digest = sha256.Sum256(body)
	if err == nil {
		var remarks []remark
		if keys, remarks, err = parseJWKS(body); err != nil {
			err = senseless{fmt.Errorf("the key set at %s: %w", url, err)}
		}
		if digest != k.known.Load().digest {
			k.tell(remarks)
		}
	}
	k.observe(CallKeys, outcomeOf(err))
	return keys, digest, err
}

// tell logs what is remarkable about keys.
func (k *Keys) tell(remarks []remark) {
	for _, r := range remarks {
		if r.private {
			k.logger.Warn("a private key is published: whoever finds it can sign tokens", "kid", r.kid, "index", r.at)
		}
		if r.err != nil {
			k.logger.Debug("a key is left out", "kid", r.kid, "index", r.at, "reason", r.err)
		}
	}
}

// keep replaces keys that were known before by what they were before.
func keep(keys, before []*key) []*key {
	for n, k := range keys {
		same := func(other *key) bool { return other.identity == k.identity }
		if i := slices.IndexFunc(before, same); i >= 0 {
			keys[n] = before[i]
		}
	}
	return keys
}

// without returns those keys that aren't among the others.
func without(keys, others []*key) []*key {
	var rest []*key
	for _, k := range keys {
		if !slices.Contains(others, k) {
			rest = append(rest, k)
		}
	}
	return rest
}

// Status returns how many keys are known, when they were fetched, which is zero for
// static keys, and why the last call failed, or nil.
func (k *Keys) Status() (n int, at time.Time, err error) {
	set := k.known.Load()
	return len(set.keys), set.at, set.err
}
