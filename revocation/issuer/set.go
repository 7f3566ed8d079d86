package issuer

// This file finds the issuer of a token among those that are configured.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// Set is all configured issuers. It is safe for concurrent use.
type Set struct {
	reader  *token.Reader
	issuers []*Issuer // in the order of the configuration
	byName  map[string]*Issuer
}

var _ revocation.Prover = (*Set)(nil)

// NewSet makes a set of issuers. The reader must know each by its ReaderIssuer, and be
// the one that reads what the set is asked about. It is an error if two issuers share
// a name.
func NewSet(reader *token.Reader, issuers ...*Issuer) (*Set, error) {
	s := &Set{reader, issuers, map[string]*Issuer{}}
	var errs []error
	for _, i := range issuers {
		for _, name := range i.names {
			if other, taken := s.byName[name]; taken {
				errs = append(errs, fmt.Errorf("%q is a name of issuer %q and of issuer %q", name, other.name, i.name))
				continue
			}
			s.byName[name] = i
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Prove implements revocation.Prover. A JWT that names an issuer is for that one to
// vouch for, whoever else might. About a token that names none, the issuers that take
// questions are asked in turn. Nobody is asked about a malformed token, or about that
// of an issuer that isn't configured.
func (s *Set) Prove(ctx context.Context, p revocation.Presented) (*revocation.Proof, error) {
	if p.Facts.Malformed != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrUnproven, p.Facts.Malformed)
	}
	if len(p.Facts.Issuers) == 0 {
		return s.askAll(ctx, p)
	}
	i := s.named(p)
	switch {
	case i == nil:
		return nil, fmt.Errorf("%w: its issuer is not configured", revocation.ErrUnproven)
	case !s.allowed(p, i):
		return nil, fmt.Errorf("%w: its issuer is not accepted here", revocation.ErrUnproven)
	}
	return i.prove(ctx, p, s.reader)
}

// named returns the issuer that a well-formed token names, nil if it isn't configured.
// Such a token has one iss; the other names are aliases of the same issuer.
func (s *Set) named(p revocation.Presented) *Issuer { return s.byName[p.Facts.Issuers[0]] }

// allowed reports whether an issuer may vouch for the token.
func (s *Set) allowed(p revocation.Presented, i *Issuer) bool {
	return p.Issuers == nil || slices.ContainsFunc(p.Issuers, func(name string) bool { return s.byName[name] == i })
}

// askAll asks all issuers about a token that says of none that it is its own. One that
// doesn't answer doesn't keep another from vouching for it.
func (s *Set) askAll(ctx context.Context, p revocation.Presented) (*revocation.Proof, error) {
	err := fmt.Errorf("%w: it names no issuer, and none that could be asked knows it", revocation.ErrUnproven)
	for _, i := range s.inTurn(p) {
		if i.introspector == nil || !s.allowed(p, i) {
			continue
		}
		proof, askErr := i.ask(ctx, p, s.reader)
		if askErr == nil {
			return proof, nil
		}
		if errors.Is(askErr, revocation.ErrIssuerUnavailable) {
			// It may be this one's.
			err = askErr
		}
	}
	return nil, err
}

// inTurn returns the issuers with the one first that has vouched for the token before:
// for the others it is an unknown one, which counts against its sender.
func (s *Set) inTurn(p revocation.Presented) []*Issuer {
	proof := p.Facts.Proof()
	if proof == nil || len(s.issuers) < 2 || s.byName[proof.Issuer] == nil {
		return s.issuers
	}
	turn := []*Issuer{s.byName[proof.Issuer]}
	for _, i := range s.issuers {
		if i != turn[0] {
			turn = append(turn, i)
		}
	}
	return turn
}

// ProofByAnswer returns the proof that a token has once its issuer has answered 200
// without a body to its revocation. Nil where that would prove nothing.
func (s *Set) ProofByAnswer(p revocation.Presented) *revocation.Proof {
	if p.Facts.Malformed != nil || len(p.Facts.Issuers) == 0 {
		return nil
	}
	i := s.named(p)
	if i == nil || !i.preset.EmptyAnswerProves || !s.allowed(p, i) {
		return nil
	}
	return i.proofByAnswer(p)
}

// Known returns the issuer that has a name or an alias: its name, and how long its tokens
// live at most, zero where that isn't configured. The name is empty where there is none.
func (s *Set) Known(name string) (issuer string, maxTokenLifetime time.Duration) {
	if i := s.byName[name]; i != nil {
		return i.name, i.maxTokenLifetime
	}
	return "", 0
}

// Statuses returns the state of each issuer, in the order of the configuration.
func (s *Set) Statuses() []Status {
	all := make([]Status, len(s.issuers))
	for n, i := range s.issuers {
		all[n] = i.Status()
	}
	return all
}
