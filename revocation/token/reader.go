package token

// This file turns a presented token into its facts: the order in which its
// parts are looked at, and what is kept of them.

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Reader makes the facts of tokens. It is safe for concurrent use.
type Reader struct {
	paths []path
}

var _ revocation.FactsReader = (*Reader)(nil)

// NewReader makes a Reader that looks at the standard claims and at the claims
// named in matchClaims. Such a name is a role of its own; dots in it lead into
// nested objects, unless they are part of a claim's name.
func NewReader(matchClaims []string) (*Reader, error) {
	r := &Reader{paths: slices.Clone(bindingPaths)}
	for _, name := range matchClaims {
		role := revocation.Role(name)
		if err := role.Validate(); err != nil {
			return nil, err
		}
		if slices.Contains(standardRoles, role) {
			return nil, fmt.Errorf("%w: role %q exists already and need not be named", revocation.ErrInvalidSelector, name)
		}
		if p := (path{rest: name, role: role}); !slices.Contains(r.paths, p) {
			r.paths = append(r.paths, p)
		}
	}
	return r, nil
}

// ReadFacts implements revocation.FactsReader. Nothing in the facts refers to
// the memory of the token. No token makes it fail: what can't be read isn't in
// the facts.
func (r *Reader) ReadFacts(token string) *revocation.Facts {
	b := benches.Get().(*bench)
	f := b.readFacts(r, token)
	if len(token) <= MaxTokenBytes {
		benches.Put(b)
	}
	return f
}

// benches saves the allocation of the room in which tokens are taken apart.
var benches = sync.Pool{New: func() any { return new(bench) }}

// bench is the room in which one token is taken apart.
type bench struct {
	segments segments
	json     jsonReader
	found    findings
	header   joseHeader
}

func (b *bench) readFacts(r *Reader, token string) *revocation.Facts {
	compact, ok := b.json.compact(token)
	if !ok {
		return b.readCompact(r, token)
	}
	var f *revocation.Facts
	if compact == "" {
		f = &revocation.Facts{Fingerprint: b.segments.opaqueFingerprint(token)}
	} else {
		f = b.readCompact(r, compact)
	}
	f.Malformed = MalformedSerialization
	return f
}

func (b *bench) readCompact(r *Reader, token string) *revocation.Facts {
	s := &b.segments
	// Without a dot nothing is a JWT for anybody, even if it is JSON in base64,
	// as Grafana's API keys are.
	if strings.IndexByte(token, '.') < 0 {
		return &revocation.Facts{Fingerprint: s.opaqueFingerprint(token)}
	}
	s.load(token)
	canonical := s.decode(0)
	b.found.reset()
	b.json.readHeader(s.bytes(0), &b.header)
	if b.header.reading == unreadable {
		return &revocation.Facts{Fingerprint: s.opaqueFingerprint(token)}
	}
	f := new(revocation.Facts)
	// RFC 7516 §9. Without enc, five segments are a JWS with two too many, which
	// some libraries cut off.
	encrypted := s.count == 5 && b.header.encrypted
	payload := unreadable
	if encrypted {
		for i := 1; i < maxSegments; i++ {
			canonical = s.decode(i) && canonical
		}
		f.Fingerprint = s.fingerprintJWE(canonical)
	} else {
		canonical = s.decode(1) && canonical
		f.Fingerprint = s.fingerprintJWS(b.header.object, canonical)
		payload = b.json.readClaims(s.bytes(1), r.paths, &b.found)
		for i := 2; i < min(s.count, maxSegments) && canonical; i++ {
			canonical = s.decode(i)
		}
	}
	f.Malformed = gate(canonical, s.count, encrypted, encrypted && len(s.segment(1)) > 0, &b.header, payload)
	if payload == unreadable {
		// RFC 7519 §5.3: claims may be replicated in the header of a JWE.
		b.json.readClaims(s.bytes(0), r.paths, &b.found)
		b.found.expiry = expiry{}
	}
	b.found.addHeader(&b.header)
	b.found.fill(f)
	return f
}
