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
	paths   []path
	issuers map[string]readAs // by iss
}

// readAs is how the tokens of a configured issuer are read.
type readAs struct {
	names   []string // the iss that they are looked up with
	profile profiles
}

var _ revocation.FactsReader = (*Reader)(nil)

// ReaderOptions say what a Reader looks at besides the standard claims.
type ReaderOptions struct {
	// MatchClaims are further claims by which tokens can be told apart. Each is a
	// role of its own; dots in it lead into nested objects, unless they are part of a
	// claim's name.
	MatchClaims []string

	// Issuers are those of which more is known than that they follow the standards.
	Issuers []Issuer
}

// Issuer says how the tokens of one issuer are read.
type Issuer struct {
	// Names are the iss of its tokens. A token with one of them is looked up with all
	// of them.
	Names []string

	// Profile says which claims play which role. Nil: DefaultProfile.
	Profile Profile
}

// NewReader makes a Reader. The error says which of the options won't do.
func NewReader(opts ReaderOptions) (*Reader, error) {
	r := &Reader{issuers: map[string]readAs{}}
	p := newPaths()
	for _, name := range opts.MatchClaims {
		role := revocation.Role(name)
		if err := role.Validate(); err != nil {
			return nil, err
		}
		if slices.Contains(standardRoles, role) {
			return nil, fmt.Errorf("%w: role %q exists already and need not be named", revocation.ErrInvalidSelector, name)
		}
		p.add(name, role, allProfiles)
	}
	for _, issuer := range opts.Issuers {
		as := readAs{names: issuer.Names, profile: defaultProfiles}
		if issuer.Profile != nil {
			var err error
			if as.profile, err = p.addProfile(issuer.Profile); err != nil {
				return nil, fmt.Errorf("issuer %s: %w", issuer.Names[0], err)
			}
		}
		for _, name := range issuer.Names {
			if _, taken := r.issuers[name]; taken {
				return nil, fmt.Errorf("issuer %s is named twice", name)
			}
			r.issuers[name] = as
		}
	}
	r.paths = p.paths
	return r, nil
}

// issuersOf returns the names that a token with these iss is looked up with, and
// the profiles by which it is read.
func (r *Reader) issuersOf(iss []string) ([]string, profiles) {
	var read profiles
	names := iss
	for _, name := range iss {
		as, known := r.issuers[name]
		if !known {
			read |= defaultProfiles
			continue
		}
		read |= as.profile
		if len(as.names) > 1 {
			names = append(slices.Clone(names), as.names...)
		}
	}
	if len(iss) == 0 {
		read = defaultProfiles
	}
	return unique(names), read
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
	b.found.fill(f, r)
	return f
}

// ReadClaims makes facts of a claims set that didn't come in a token, such as an
// answer to a question about one (RFC 7662 §2.2). Where it has no iss, the issuer's
// name is taken for it. The facts have no fingerprint. What isn't a JSON object has
// no claims.
func (r *Reader) ReadClaims(object []byte, issuer string) *revocation.Facts {
	b := benches.Get().(*bench)
	defer benches.Put(b)
	b.found.reset()
	b.json.readClaims(object, r.paths, &b.found)
	if len(b.found.issuers) == 0 {
		b.found.addIssuer(b.found.keep([]byte(issuer)))
	}
	f := new(revocation.Facts)
	b.found.fill(f, r)
	return f
}
