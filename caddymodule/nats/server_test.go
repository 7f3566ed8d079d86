package nats

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const password = "s3cret/@:"

// TestTLSAndAUserWithThePermissionsOfTheDocs connects to a real server that talks TLS only,
// knows its clients by certificates, and has only users with the permissions that
// docs/clusters-nats.md names.
func TestTLSAndAUserWithThePermissionsOfTheDocs(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	makeCertificate(t, cert, key)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	seedFile := filepath.Join(dir, "seed")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/clusters-nats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, permissions, _ := strings.Cut(string(page), "\npermissions {")
	permissions, _, ok := strings.Cut(permissions, "\n}\n")
	if !ok {
		t.Fatal("docs/clusters-nats.md has no permissions")
	}
	permissions = "permissions {" + permissions + "\n}"
	address := startServer(t, dir, fmt.Sprintf(`
		tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }
		accounts { CADDY { jetstream: enabled, users: [
			{ user: caddy, password: %q, %s }
			{ nkey: %q, %s }
			{ user: nobody, password: %q, permissions { publish: ["$JS.API.STREAM.INFO.>"], subscribe: ["_INBOX.>"] } }
		] } }`, cert, key, cert, password, permissions, public, permissions, password))

	t.Setenv("PASSWORD", password)
	open := func(text string) (revocation.Store, *bytes.Buffer) {
		t.Helper()
		var log bytes.Buffer
		store, err := mustProvision(t, text).OpenStore(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		return store, &log
	}
	record := revocation.Record{
		ID: revocation.NewID(), Kind: revocation.Block, Selector: revocation.SelectToken(revocation.Fingerprint{1}),
		Expires: time.Now().Add(time.Hour).Truncate(time.Second), RecordedAt: time.Now(), Source: "admin", Actor: "test",
	}
	short, long := record, record
	short.ID, long.ID, long.Expires = revocation.NewID(), revocation.NewID(), revocation.Never
	var many []revocation.Record
	for range 50 {
		many = append(many, short)
	}
	files := fmt.Sprintf("tls {\nca %s\ncert %s\nkey %s\n}\n", cert, cert, key)
	for _, how := range []string{"username caddy\npassword {env.PASSWORD}\n", "nkey " + seedFile + "\n"} {
		store, _ := open(fmt.Sprintf("nats://%s {\nsync_always\n%s%s}", address, how, files))
		p, err := store.Load(t.Context(), func([]revocation.Record) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		// One of several messages, and one of one.
		for _, records := range [][]revocation.Record{append(many, long), {record}} {
			if err := store.Append(t.Context(), records); err != nil {
				t.Fatal(err)
			}
		}
		feed, followed := store.(revocation.Feed), 0
		enough := fmt.Errorf("enough")
		err = feed.Follow(t.Context(), p, func(r []revocation.Record, _ revocation.Position) error {
			if followed += len(r); followed == len(many)+2 {
				return enough
			}
			return nil
		})
		if err != enough {
			t.Error(err)
		}
		if p, err = store.Load(t.Context(), func([]revocation.Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
		for _, b := range []revocation.Beat{
			{Node: "a", Number: 1, Applied: p},
			{Node: "b", Number: 1, Forget: map[string]uint64{"a": 1}},
			{Node: "c", Number: 1, Applied: p, Forget: map[string]uint64{"b": 1}},
		} {
			if head, err := feed.Beat(t.Context(), b); err != nil || len(head.Nodes) != 1 || !feed.Covers(p, head.Position) {
				t.Errorf("beat of %s: %+v, %v", b.Node, head, err)
			}
		}
		if _, err := feed.Beat(t.Context(), revocation.Beat{Node: "c", Number: 2, Forget: map[string]uint64{"c": 2}}); err != nil {
			t.Error(err)
		}
		if d := store.(caddymodule.Durable).Durability(); d != "stated" {
			t.Errorf("the durability is %s", d)
		}
	}

	for name, test := range map[string]struct{ text, says string }{
		"no authority":    {"nats://caddy:{env.PASSWORD}@" + address, "certificate"},
		"wrong authority": {"tls://caddy:{env.PASSWORD}@" + address, "certificate"},
		"no certificate":  {fmt.Sprintf("nats://caddy:{env.PASSWORD}@%s {\ntls {\nca %s\n}\n}", address, cert), "tls"}, // the server hangs up, and may have said why
		"another name":    {fmt.Sprintf("nats://caddy:{env.PASSWORD}@%s {\n%s}", address, strings.Replace(files, "tls {", "tls {\nserver_name other", 1)), "other"},
		"wrong password":  {fmt.Sprintf("nats://caddy:{env.PASSWORD}x@%s {\n%s}", address, files), "is wrong"},
		"no password":     {fmt.Sprintf("nats://%s {\n%s}", address, files), "is missing"},
		"another prefix":  {fmt.Sprintf("nats://caddy:{env.PASSWORD}@%s {\nprefix x\n%s}", address, files), "lacks a permission"},
		"another user":    {fmt.Sprintf("nats://nobody:{env.PASSWORD}@%s {\n%s}", address, files), "lacks a permission"},
	} {
		store, log := open(test.text)
		err := store.Append(t.Context(), []revocation.Record{record})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), password) || strings.Contains(log.String(), password) {
			t.Errorf("%s: the password is in %v, or in the log: %s", name, err, log)
		}
		t.Logf("%s: %v", name, err)
	}
}

// startServer runs a nats-server on a free port.
func startServer(t *testing.T, dir, config string) (address string) {
	t.Helper()
	if _, err := exec.LookPath("nats-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI lacks nats-server")
		}
		t.Skip("skipped for want of nats-server")
	}
	address = fmt.Sprint("127.0.0.1:", freeport.Next(t))
	file := filepath.Join(dir, "server.conf")
	config = fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always }\n%s\n", address, dir, config)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("nats-server", "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", &out)
		}
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatalf("%v\n%s", err, &out)
		}
	}
}

// makeCertificate writes a certificate that signs itself, for server and clients.
func makeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
