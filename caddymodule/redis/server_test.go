package redis

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

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestTLSAndAnACLUserWithTheRightsOfTheDocs connects to a real server that talks TLS only,
// knows its clients by certificates, and has only the user that docs/clusters-redis.md makes.
func TestTLSAndAnACLUserWithTheRightsOfTheDocs(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI lacks redis-server")
		}
		t.Skip("skipped for want of redis-server")
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	makeCertificate(t, cert, key)
	page, err := os.ReadFile("../../docs/clusters-redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(page), "ACL SETUSER ")
	rule, _, ok := strings.Cut(rule, "\n")
	if !ok || !strings.HasPrefix(rule, "caddy on >… ") {
		t.Fatalf("docs/clusters-redis.md has the rule %q", rule)
	}
	const password = "s3cret/@:"
	acl := "user default off\nuser " + strings.Replace(rule, ">…", ">"+password, 1) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "users.acl"), []byte(acl), 0o600); err != nil {
		t.Fatal(err)
	}
	address := startServer(t, "--aclfile", filepath.Join(dir, "users.acl"), "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--port", "0", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)

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
	files := fmt.Sprintf("tls {\nca %s\ncert %s\nkey %s\n}\n", cert, cert, key)
	store, _ := open(fmt.Sprintf("redis://%s {\nusername caddy\npassword {env.PASSWORD}\n%s}", address, files))
	if err := store.Append(t.Context(), []revocation.Record{record}); err != nil {
		t.Fatal(err)
	}
	loaded := 0
	if _, err := store.Load(t.Context(), func(r []revocation.Record) error { loaded += len(r); return nil }); err != nil || loaded != 1 {
		t.Errorf("%d records, %v", loaded, err)
	}
	if _, err := store.(revocation.Feed).Beat(t.Context(), revocation.Beat{Node: "n"}); err != nil {
		t.Error(err)
	}
	if _, err := store.(revocation.Pruner).Prune(t.Context(), time.Now().Add(24*time.Hour)); err != nil {
		t.Error(err)
	}
	if d := store.(caddymodule.Durable).Durability(); d != "verified" {
		t.Errorf("the durability is %s", d)
	}

	for name, text := range map[string]string{
		"no TLS":          "redis://caddy:{env.PASSWORD}@" + address,
		"wrong authority": "rediss://caddy:{env.PASSWORD}@" + address,
		"no certificate":  fmt.Sprintf("redis://caddy:{env.PASSWORD}@%s {\ntls {\nca %s\n}\n}", address, cert),
		"another name":    fmt.Sprintf("redis://caddy:{env.PASSWORD}@%s {\n%s}", address, strings.Replace(files, "tls {", "tls {\nserver_name other", 1)),
		"wrong password":  fmt.Sprintf("redis://caddy:{env.PASSWORD}x@%s {\n%s}", address, files),
		"another prefix":  fmt.Sprintf("redis://caddy:{env.PASSWORD}@%s {\nprefix x\n%s}", address, files),
	} {
		store, log := open(text)
		err := store.Append(t.Context(), []revocation.Record{record})
		if err == nil {
			t.Errorf("%s is no error", name)
		} else if strings.Contains(err.Error(), password) || strings.Contains(log.String(), password) {
			t.Errorf("%s: the password is in %v, or in the log: %s", name, err, log)
		}
		t.Logf("%s: %v", name, err)
	}
}

// startServer runs a redis-server with TLS on a free port.
func startServer(t *testing.T, args ...string) (address string) {
	t.Helper()
	port := fmt.Sprint(freeport.Next(t))
	address = "127.0.0.1:" + port
	var out bytes.Buffer
	cmd := exec.Command("redis-server", append(args, "--bind", "127.0.0.1", "--tls-port", port)...)
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
			t.Fatal(err)
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
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
