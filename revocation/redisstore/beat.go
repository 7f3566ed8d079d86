// What nodes tell each other: that they live, and how far they have come.

package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// said is a node's beat as it stands in the hash, behind when it came and for how long it
// is remembered, both in milliseconds.
type said struct {
	Name    string              `json:"name,omitempty"`
	Version string              `json:"version,omitempty"`
	Applied revocation.Position `json:"applied,omitempty"`
	Fresh   bool                `json:"fresh,omitempty"`
}

var errNoNode = errors.New("the beat names no node")

// Beat notes what a node says, as durably as Append adds records, and reads where the store
// ends. When the server's memory is full it does the latter alone.
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
	text, err := json.Marshal(said{b.Name, b.Version, b.Applied, b.Fresh})
	if err != nil {
		return none, err
	}
	keep := max(b.Keep.Milliseconds(), 0)
	type answer struct {
		cut   cut
		nodes []string
	}
	a, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) (a answer, err error) {
		if err := s.inspectAgain(ctx, conn); err != nil {
			return a, err
		}
		a.nodes, err = beatScript.Run(ctx, conn, []string{s.keys.nodes}, b.Node, keep, text).StringSlice()
		if err == nil {
			a.cut, err = s.read(ctx, conn, &applied, 0)
		}
		if err == nil {
			err = s.wait(ctx, conn)
		}
		return a, err
	})
	if err != nil {
		return none, err
	}
	if b.Applied != "" {
		if err := a.cut.verify(&applied); err != nil {
			return none, s.explain(ctx, err)
		}
	}
	end := position{a.cut.epoch, a.cut.seq, a.cut.heads}
	head := revocation.Head{Position: end.text()}
	head.Time, head.Nodes = parseNodes(a.nodes)
	return head, nil
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
		keep, text, _ := strings.Cut(rest, " ")
		atMillis, err1 := strconv.ParseInt(at, 10, 64)
		keepMillis, err2 := strconv.ParseInt(keep, 10, 64)
		var what said
		if err1 != nil || err2 != nil || json.Unmarshal([]byte(text), &what) != nil {
			continue
		}
		nodes = append(nodes, revocation.NodeStatus{
			Beat: revocation.Beat{
				Node:    reply[0],
				Name:    what.Name,
				Version: what.Version,
				Applied: what.Applied,
				Fresh:   what.Fresh,
				Keep:    time.Duration(keepMillis) * time.Millisecond,
			},
			At: time.UnixMilli(atMillis).UTC(),
		})
	}
	return now, nodes
}
