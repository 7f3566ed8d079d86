package revocation

// This file matches the facts of a token with the index: which keys the token
// has, and whether what stands under one of them rejects it.

// factKeys are the keys that a token has in the groups of an index. They are
// derived on first need and again when the index gets a group for a new kind or
// shape, which is rare.
type factKeys struct {
	groups *[]*group
	keys   []groupKey
}

type groupKey struct {
	group *group
	key   Key
}

// lookup returns the group in which a record rejects the token, or nil. It
// takes no lock and, once the token's keys are derived, allocates nothing. The
// clock is read last: a look-up that was held up can't miss a record by
// believing it expired before it was.
func (ix *Index) lookup(f *Facts, c *clock) *group {
	keys := f.keysIn(ix)
	for i := range keys {
		k := &keys[i]
		if k.group.table.keys.Load() == 0 {
			continue
		}
		v, found := k.group.table.get(k.key)
		if found && f.hitBy(k.group.kind, v) && v.live(c.seconds()) {
			return k.group
		}
	}
	return nil
}

// hitBy reports whether a value of the given kind, under a key of the token,
// rejects it.
func (f *Facts) hitBy(kind Kind, v value) bool {
	at := f.IssuedAt
	switch kind {
	case Block:
		return true
	case AuthenticatedBefore:
		if f.AuthTime != 0 {
			at = f.AuthTime
		}
	}
	return at == 0 || at <= int64(v.cutoff())
}

// keysIn returns the keys of the token in the groups of the index.
func (f *Facts) keysIn(ix *Index) []groupKey {
	groups := ix.groups.Load()
	if known := f.keys.Load(); known != nil && known.groups == groups {
		return known.keys
	}
	fresh := &factKeys{groups: groups}
	for _, g := range *groups {
		fresh.keys = f.appendKeys(fresh.keys, g)
	}
	f.keys.Store(fresh)
	return fresh.keys
}

// appendKeys appends every key that the token has in a group: one for each of
// its issuers and each combination of its values in the group's roles.
func (f *Facts) appendKeys(keys []groupKey, g *group) []groupKey {
	if len(g.roles) == 1 && g.roles[0] == RoleToken {
		return append(keys, groupKey{g, makeKey(g.kind, "", []Claim{{RoleToken, f.Fingerprint.String()}})})
	}
	issuers := f.Issuers
	if g.selfStanding() {
		issuers = []string{""}
	}
	var space [MaxClaims]Claim
	for _, iss := range issuers {
		keys = f.combine(keys, g, iss, space[:0])
	}
	return keys
}

// combine extends the chosen claims by one for the next role of the group, in
// all ways, and appends a key when there is one for each role.
func (f *Facts) combine(keys []groupKey, g *group, issuer string, chosen []Claim) []groupKey {
	if len(chosen) == len(g.roles) {
		return append(keys, groupKey{g, makeKey(g.kind, issuer, chosen)})
	}
	role := g.roles[len(chosen)]
	if role == RoleToken {
		return f.combine(keys, g, issuer, append(chosen, Claim{RoleToken, f.Fingerprint.String()}))
	}
	for _, c := range f.Claims {
		if c.Role == role {
			keys = f.combine(keys, g, issuer, append(chosen, c))
		}
	}
	return keys
}

func (g *group) selfStanding() bool {
	for _, r := range g.roles {
		if !r.selfStanding() {
			return false
		}
	}
	return len(g.roles) > 0
}
