package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Here a node is in a network namespace of its own and reaches the engine over a link of the
// kernel's, which loses packets and goes down: no connection ends by that, none is accepted
// meanwhile, and TCP sends again what was lost.

func TestClusterNodeInANetworkThatFails(t *testing.T) {
	onEachEngine(t, testClusterNodeInANetworkThatFails)
}

func testClusterNodeInANetworkThatFails(t *testing.T, e engine) {
	there := newNamespaces(t)
	listener, err := inNamespace(there.engine, func() (net.Listener, error) { return net.Listen("tcp", engineIP+":0") })
	if err != nil {
		t.Fatal(err)
	}
	apart := newNode(t, e, serveLink(t, listener, dialTo(e.address())).address(), shortStaleness)
	apart.within = []string{"ip", "netns", "exec", there.node}
	for _, port := range apart.ports {
		address := fmt.Sprint("127.0.0.1:", port)
		here, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		serveLink(t, here, func() (net.Conn, error) { return inNamespace(there.node, dialTo(address)) })
	}
	nodes := startNodes(t, e, shortStaleness, e.address(), e.address())
	apart.run(t)
	apart.awaitFresh(t)
	nodes = append(nodes, apart)

	h := newHistory(shortStaleness)
	drop := func(hook, interfaceIs string) []string {
		return []string{"nft", fmt.Sprintf(`add chain inet cut %s { type filter hook %[1]s priority 0; }; add rule inet cut %[1]s %s "way" drop`, hook, interfaceIs)}
	}
	table, mend := []string{"nft", "add table inet cut"}, []string{"nft", "delete table inet cut"}
	in, out := drop("input", "iifname"), drop("output", "oifname")
	for _, c := range []struct {
		name      string
		cut, mend [][]string
	}{
		{"all packets are lost", [][]string{table, in, out}, [][]string{mend}},
		{"the link is down", [][]string{{"ip", "link", "set", "way", "down"}}, [][]string{{"ip", "link", "set", "way", "up"}}},
		{"packets to the engine are lost", [][]string{table, out}, [][]string{mend}},
		{"packets to the node are lost", [][]string{table, in}, [][]string{mend}},
	}[:shortly(2, 4)] {
		t.Log(c.name)
		h.wantCutOff(t, nodes, func() { there.run(t, c.cut) }, func() { there.run(t, c.mend) })
	}
	h.wantNothingLost(t, e, e.address(), nodes...)
}

// namespaces are two network namespaces with a link between them, which both name "way".
type namespaces struct{ node, engine string }

const (
	engineIP = "10.0.0.1"
	nodeIP   = "10.0.0.2"
)

func newNamespaces(t testing.TB) namespaces {
	t.Helper()
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool)
		}
	}
	n := namespaces{fmt.Sprint("node-", os.Getpid()), fmt.Sprint("engine-", os.Getpid())}
	for _, name := range []string{n.node, n.engine} {
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			missing(t, fmt.Sprintf("the right to make a network namespace (run as root): %v: %s", err, out))
		}
		t.Cleanup(func() { command(t, "ip", "netns", "delete", name) })
	}
	command(t, "ip", "link", "add", "way", "netns", n.node, "type", "veth", "peer", "name", "way", "netns", n.engine)
	for name, ip := range map[string]string{n.node: nodeIP, n.engine: engineIP} {
		command(t, "ip", "-n", name, "address", "add", ip+"/30", "dev", "way")
		command(t, "ip", "-n", name, "link", "set", "way", "up")
		command(t, "ip", "-n", name, "link", "set", "lo", "up")
	}
	return n
}

// run runs commands where the node is.
func (n namespaces) run(t testing.TB, commands [][]string) {
	t.Helper()
	for _, c := range commands {
		command(t, append([]string{"ip", "netns", "exec", n.node}, c...)...)
	}
}

func command(t testing.TB, words ...string) {
	t.Helper()
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// inNamespace makes a socket in a network namespace, where it stays.
func inNamespace[T any](name string, open func() (T, error)) (socket T, err error) {
	there, err := os.Open("/run/netns/" + name)
	if err != nil {
		return socket, err
	}
	defer there.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return socket, err
	}
	defer home.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return socket, err
	}
	socket, err = open()
	// A thread that can't go back stays locked, and ends with its goroutine.
	if homeErr := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); homeErr != nil {
		return socket, errors.Join(err, homeErr)
	}
	runtime.UnlockOSThread()
	return socket, err
}
