// What nodes tell each other: that they live, and how far they have come.

package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

var errNoNode = errors.New("the beat names no node")

// Beat notes what a node says, as durably as Append adds records, and reads where the store
// ends.
func (s *Store) Beat(ctx context.Context, b revocation.Beat) (revocation.Head, error) {
	var none revocation.Head
	if b.Node == "" {
		return none, errNoNode
	}
	var applied position
	if b.Applied != "" {
		var err error
		if applied, err = parsePosition(b.Applied); err != nil {
			return none, s.explain(ctx, broken("%w", err))
		}
	}
	text, err := json.Marshal(b)
	if err != nil {
		return none, err
	}
	args := []any{b.Node, strconv.FormatUint(b.Number, 10), text}
	for id, number := range b.Forget {
		args = append(args, id, strconv.FormatUint(number, 10))
	}
	type answer struct {
		cut   cut
		time  time.Time
		nodes []revocation.NodeStatus
	}
	a, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) (a answer, err error) {
		if err := s.inspectAgain(ctx, conn); err != nil {
			return a, err
		}
		reply, err := s.note(ctx, conn, args)
		if err != nil {
			return a, err
		}
		a.time, a.nodes = parseNodes(reply)
		if a.cut, err = s.read(ctx, conn, &applied, 0); err != nil {
			return a, err
		}
		if b.Applied != "" {
			if err := a.cut.verify(&applied); err != nil {
				return a, err
			}
		}
		if err := s.verifyNodes(ctx, conn, &a.cut, &applied, a.nodes); err != nil {
			return a, err
		}
		return a, s.wait(ctx, conn)
	})
	if err != nil {
		return none, err
	}
	end := position{a.cut.epoch, a.cut.seq, a.cut.heads}
	return revocation.Head{Position: end.text(), Time: a.time, Nodes: a.nodes}, nil
}

// verifyNodes empties the positions of nodes that aren't in the history that the cut is of:
// a replica that was promoted has the beats that it got from a master whose last entries it
// never had. Most nodes are where this one is, or at the end.
func (s *Store) verifyNodes(ctx context.Context, conn *redis.Conn, c *cut, own *position, nodes []revocation.NodeStatus) error {
	type place struct {
		class int
		mark  mark
	}
	var unsure []place
	claims := make([][]place, len(nodes))
	for i := range nodes {
		p, err := parsePosition(nodes[i].Applied)
		if err != nil || p.epoch != c.epoch || p.seq > c.seq {
			nodes[i].Applied = ""
			continue
		}
		for class, m := range p.marks {
			if m.id == 0 || m == c.heads[class] || m == c.bases[class] || m == own.marks[class] {
				continue
			}
			at := place{class, m}
			claims[i] = append(claims[i], at)
			if !slices.Contains(unsure, at) {
				unsure = append(unsure, at)
			}
		}
	}
	if len(unsure) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(unsure))
	for _, at := range unsure {
		args = append(args, at.class+1, strconv.FormatUint(at.mark.id, 10))
	}
	chains, err := chainsScript.Run(ctx, conn, s.keys.logs[:], args...).StringSlice()
	if err != nil {
		return err
	}
	if len(chains) != len(unsure) {
		return refuse("%w", errBadReply)
	}
	for i := range nodes {
		for _, at := range claims[i] {
			if chains[slices.Index(unsure, at)] != at.mark.chain {
				nodes[i].Applied = ""
			}
		}
	}
	return nil
}

// note runs the script that notes a beat. An old server doesn't know what the flags of a
// script are.
func (s *Store) note(ctx context.Context, conn *redis.Conn, args []any) ([]string, error) {
	if !s.plainScripts.Load() {
		nodes, err := beatScriptWhenFull.Run(ctx, conn, []string{s.keys.nodes}, args...).StringSlice()
		if err == nil || !strings.Contains(err.Error(), "rror compiling script") {
			return nodes, err
		}
		s.plainScripts.Store(true)
	}
	return beatScript.Run(ctx, conn, []string{s.keys.nodes}, args...).StringSlice()
}

// parseNodes reads what beatScript returns. What isn't a beat is left out.
func parseNodes(reply []string) (now time.Time, nodes []revocation.NodeStatus) {
	if len(reply) < 2 {
		return now, nil
	}
	seconds, _ := strconv.ParseInt(reply[0], 10, 64)
	micros, _ := strconv.ParseInt(reply[1], 10, 64)
	now = time.Unix(seconds, micros*1000).UTC()
	for reply = reply[2:]; len(reply) >= 2; reply = reply[2:] {
		at, rest, _ := strings.Cut(reply[1], " ")
		count, text, _ := strings.Cut(rest, " ")
		atMillis, err1 := strconv.ParseInt(at, 10, 64)
		number, err2 := strconv.ParseUint(count, 10, 64)
		var b revocation.Beat
		if err1 != nil || err2 != nil || json.Unmarshal([]byte(text), &b) != nil {
			continue
		}
		b.Node, b.Number = reply[0], number
		nodes = append(nodes, revocation.NodeStatus{Beat: b, At: time.UnixMilli(atMillis).UTC()})
	}
	return now, nodes
}
