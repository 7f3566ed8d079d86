package postgres

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
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestTLSAndARoleWithTheRightsOfTheDocs connects to a real server that talks TLS only, knows
// its clients by certificates and passwords, and has tables and a role made by the SQL of the
// docs.
func TestTLSAndARoleWithTheRightsOfTheDocs(t *testing.T) {
	noEnvironment(t)
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var sql []string
	for i, block := range strings.Split(string(content), "```sql\n") {
		if i > 0 {
			text, _, _ := strings.Cut(block, "```")
			sql = append(sql, text)
		}
	}
	if len(sql) != 3 || !strings.HasPrefix(sql[0], "CREATE ROLE caddy LOGIN PASSWORD '…'") || !strings.HasPrefix(sql[2], "GRANT ") {
		t.Fatalf("%s has the SQL %q", page, sql)
	}
	const password = "s3cret/@:'\\"
	sv := startServer(t)
	role, _, _ := strings.Cut(sql[0], "\n")
	sv.run(t, "postgres", strings.Replace(role, "…", strings.ReplaceAll(password, "'", "''"), 1))
	sv.run(t, "postgres", "CREATE DATABASE revocations")
	sv.run(t, "revocations", sql[1]+sql[2])

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
	files := fmt.Sprintf("tls {\nca %s\ncert %s\nkey %s\n}\ncreate_schema off\n", sv.cert, sv.cert, sv.key)
	address := "127.0.0.1:" + sv.port
	for name, text := range map[string]string{
		"tls":     fmt.Sprintf("postgres://%s/revocations {\nusername caddy\npassword {env.PASSWORD}\n%s}", address, files),
		"sslmode": fmt.Sprintf("postgres://caddy:{env.PASSWORD}@%s/revocations?sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s {\ncreate_schema off\n}", address, sv.cert, sv.cert, sv.key),
		"hosts":   fmt.Sprintf("postgres://caddy:{env.PASSWORD}@127.0.0.1:1,%s/revocations {\n%s}", address, files),
	} {
		store, _ := open(text)
		if err := store.Append(t.Context(), []revocation.Record{record}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		loaded := 0
		if _, err := store.Load(t.Context(), func(r []revocation.Record) error { loaded += len(r); return nil }); err != nil || loaded == 0 {
			t.Errorf("%s: %d records, %v", name, loaded, err)
		}
		if _, err := store.(revocation.Feed).Beat(t.Context(), revocation.Beat{Node: name, Forget: map[string]uint64{"x": 1}}); err != nil {
			t.Error(err)
		}
		if n, err := store.(revocation.Pruner).Prune(t.Context(), time.Now().Add(24*time.Hour)); err != nil || n == 0 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if d := store.(caddymodule.Durable).Durability(); d != "verified" {
			t.Errorf("the durability is %s", d)
		}
	}

	for name, text := range map[string]string{
		"no TLS":          "postgres://caddy:{env.PASSWORD}@" + address + "/revocations?sslmode=disable",
		"wrong authority": "postgres://caddy:{env.PASSWORD}@" + address + "/revocations {\ntls\n}",
		"no certificate":  fmt.Sprintf("postgres://caddy:{env.PASSWORD}@%s/revocations {\ntls {\nca %s\n}\n}", address, sv.cert),
		"another name":    fmt.Sprintf("postgres://caddy:{env.PASSWORD}@%s/revocations {\n%s}", address, strings.Replace(files, "tls {", "tls {\nserver_name other", 1)),
		"wrong password":  fmt.Sprintf("postgres://caddy:{env.PASSWORD}x@%s/revocations {\n%s}", address, files),
		"another schema":  fmt.Sprintf("postgres://caddy:{env.PASSWORD}@%s/revocations {\nschema x\n%s}", address, files),
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

// server is a PostgreSQL server with TLS.
type server struct{ port, cert, key string }

// run runs statements as the superuser, who gets in without TLS.
func (sv *server) run(t *testing.T, database, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), "postgres://postgres@127.0.0.1:"+sv.port+"/"+database+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func startServer(t *testing.T) *server {
	t.Helper()
	bin := "/usr/lib/postgresql"
	installed, _ := filepath.Glob(bin + "/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		installed = append(installed, path)
	}
	if len(installed) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI lacks PostgreSQL's initdb and postgres")
		}
		t.Skip("skipped for want of PostgreSQL's initdb and postgres")
	}
	bin = filepath.Dir(installed[0])
	port := fmt.Sprint(freeport.Next(t))
	dir, err := os.MkdirTemp("", "postgres") // not t.TempDir: the server's user must get through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := unprivileged(t)
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
		cmd.Dir = "/"
		return cmd
	}
	own := func(path string) {
		if as == nil {
			return
		}
		if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	own(dir)
	if out, err := command("initdb", "--pgdata", dir, "--username", "postgres", "--auth", "trust", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The clients' copy of the key must be theirs, the server's copy its own.
	clients := t.TempDir()
	sv := &server{port, filepath.Join(clients, "cert.pem"), filepath.Join(clients, "key.pem")}
	makeCertificate(t, sv.cert, sv.key)
	for from, to := range map[string]string{sv.cert: "server.crt", sv.key: "server.key"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(dir, to)
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
		own(to)
	}
	const rules = "host all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
	if err := os.WriteFile(filepath.Join(dir, "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := command("postgres", "-D", dir, "-c", "port="+port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl=on", "-c", "ssl_ca_file=server.crt")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGQUIT) // takes its children along
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", &out)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := pgx.Connect(t.Context(), "postgres://postgres@127.0.0.1:"+port+"/postgres?sslmode=disable")
		if err == nil {
			conn.Close(t.Context())
			return sv
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// unprivileged returns who the server runs as: it refuses to run as root.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("PostgreSQL doesn't run as root, and there is neither a user postgres nor a user nobody")
	return nil
}

// makeCertificate writes a certificate that signs itself, for server and clients.
func makeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "caddy"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
