package natsstore

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestManyNodes has more nodes than the server answers for at once.
func TestManyNodes(t *testing.T) {
	const many = 1100
	sv := startServer(t)
	s := openStore(t, sv.options())
	appendTo(t, s, newBatch("a", 1)...)
	_, p := mustLoad(t, s)
	js := sv.admin(t)
	for i := range many {
		node := fmt.Sprintf("node %d", i)
		text, _ := json.Marshal(revocation.Beat{Node: node, Number: 7, Applied: p})
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: s.streams.subjectOf(node), Data: text}); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	head, err := s.Beat(background, revocation.Beat{Node: "a", Number: 1, Forget: map[string]uint64{"node 0": 7, "node 1": 6}})
	if err != nil || len(head.Nodes) != many {
		t.Fatalf("%d nodes, %v", len(head.Nodes), err)
	}
	for _, n := range head.Nodes {
		if n.Node != "a" && n.Applied != p {
			t.Fatalf("%+v", n)
		}
	}
	publish(t, sv, s.streams.nodePrefix+"0.x", []byte("garbage"))
	if head, err = s.Beat(background, revocation.Beat{Node: "a", Number: 2}); err != nil || len(head.Nodes) != many {
		t.Fatalf("%d nodes, %v", len(head.Nodes), err)
	}
}

// TestReplacedWhileRead has nodes beat while another one reads what all say: none is ever
// missing.
func TestReplacedWhileRead(t *testing.T) {
	sv := startServer(t)
	s, other := openStore(t, sv.options()), openStore(t, sv.options())
	sess, err := s.session(background)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	for i := range 3 {
		if _, err := other.Beat(background, revocation.Beat{Node: fmt.Sprint(i), Number: 1}); err != nil {
			t.Fatal(err)
		}
		js := sv.admin(t)
		go func() {
			for number := uint64(2); ctx.Err() == nil; number++ {
				text, _ := json.Marshal(revocation.Beat{Node: fmt.Sprint(i), Number: number})
				_, _ = js.Publish(ctx, s.streams.subjectOf(fmt.Sprint(i)), text)
			}
		}()
	}
	for range 300 {
		nodes, _, err := s.readNodes(background, sess, "0", 1)
		if err != nil || len(nodes) != 3 {
			t.Fatalf("%d nodes, %v", len(nodes), err)
		}
	}
}

// TestServersThatAreBehind asks a server for what it will only get later, which is what one
// looks like that is behind the others. Its answers don't count until it has that.
func TestServersThatAreBehind(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	appendTo(t, s, newBatch("a", 1)...)
	if _, err := s.Beat(background, revocation.Beat{Node: "n", Number: 1}); err != nil {
		t.Fatal(err)
	}
	sess, err := s.session(background)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(background, 30*time.Second)
	defer cancel()
	subject := s.streams.heads + tokenOf("n")
	first := publish(t, sv, subject, preface(kindHead))
	heads, nodes := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		_, last, _ := s.before(ctx, sess, subject, first+2)
		heads <- last.seq
	}()
	go func() {
		found, _, _ := s.readNodes(ctx, sess, "n", 3)
		number := uint64(0)
		for _, n := range found {
			number = max(number, n.Number)
		}
		nodes <- number
	}()
	time.Sleep(100 * time.Millisecond)
	appendTo(t, s, newBatch("b", 1)...)
	for number := uint64(2); number <= 3; number++ {
		select {
		case at := <-heads:
			t.Fatalf("the log ends at %d by an answer without the marker", at)
		case last := <-nodes:
			t.Fatalf("the node is at its beat %d by an answer without the next", last)
		case <-time.After(100 * time.Millisecond):
		}
		text, _ := json.Marshal(revocation.Beat{Node: "n", Number: number})
		publish(t, sv, s.streams.subjectOf("n"), text)
	}
	publish(t, sv, subject, preface(kindHead))
	if at := <-heads; at != first+1 {
		t.Errorf("the log ends at %d, want %d", at, first+1)
	}
	if last := <-nodes; last != 3 {
		t.Errorf("the node is at its beat %d, want 3", last)
	}
}
