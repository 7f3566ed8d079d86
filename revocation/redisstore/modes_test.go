// Other ways to reach a server: TLS, Sentinel, a cluster, and waiting for replicas.

package redisstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// makeCertificate writes a certificate for 127.0.0.1 and its key, and returns who signed it.
func makeCertificate(t *testing.T, dir string) (pool *x509.CertPool, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(certificate)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool, certFile, keyFile
}

func TestTLS(t *testing.T) {
	pool, certFile, keyFile := makeCertificate(t, t.TempDir())
	port := freePort(t)
	startServer(t, "--tls-port", port, "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-auth-clients", "no", "--requirepass", secret)
	opts := Options{Addrs: []string{"127.0.0.1:" + port}, Password: secret, TLS: &tls.Config{RootCAs: pool}, Timeout: time.Second}
	s := open(t, opts)
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	appendTo(t, s, newBatch("a", 10)...)
	eventually(t, "the records are followed", func() bool { return len(f.Got()) == 10 })

	opts.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	wantWords(t, "Append to an unknown server", open(t, opts).Append(background, newBatch("b", 1)), "certificate")
	opts.TLS = nil
	wantWords(t, "Append in plain text", open(t, opts).Append(background, newBatch("b", 1)), opts.Addrs[0])
}

// TestSentinel finds the master through a Sentinel, and its successor.
func TestSentinel(t *testing.T) {
	p := startPair(t)
	// A replica that Sentinel is to promote must be at an address that it can reach.
	port := freePort(t)
	sentinel := &server{dir: t.TempDir(), addr: "127.0.0.1:" + port}
	host, masterPort, _ := net.SplitHostPort(p.master.addr)
	config := filepath.Join(sentinel.dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main %s %s 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n", port, sentinel.dir, host, masterPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.run(t, config, "--sentinel", "--logfile", filepath.Join(sentinel.dir, "log"))
	sentinel.waitReady(t)
	opts := Options{Addrs: []string{sentinel.addr}, SentinelMaster: "main", Timeout: time.Second}
	s := open(t, opts)
	_, start := mustLoad(t, s)
	appendTo(t, s, newBatch("before", 10)...)
	p.waitSynced(t)
	eventually(t, "the Sentinel knows the replica", func() bool { return len(sentinel.do(t, "SENTINEL", "REPLICAS", "main").([]any)) == 1 })
	p.master.kill()
	eventually(t, "the replica takes over", func() bool { return s.Append(background, newBatch("after", 1)) == nil })
	if names, _ := mustLoad(t, s); len(names) < 11 {
		t.Errorf("%d records are there, want at least 11", len(names))
	}
	f := follow(t, s, start)
	eventually(t, "all is followed from before", func() bool { return len(f.Got()) >= 11 })
	opts.SentinelMaster = "other"
	wantWords(t, "Append to an unknown master", open(t, opts).Append(background, newBatch("b", 1)), "master other")
}

func TestCluster(t *testing.T) {
	sv := startServer(t, "--cluster-enabled", "yes")
	sv.do(t, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	opts := sv.options()
	opts.Cluster = true
	eventually(t, "the cluster is up", func() bool {
		return parseInfo(sv.do(t, "CLUSTER", "INFO").(string))["cluster_state"] == "ok"
	})
	s := open(t, opts)
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	appendTo(t, s, newBatch("a", 200)...)
	eventually(t, "the records are followed", func() bool { return len(f.Got()) == 200 })
	if _, err := s.Beat(background, revocation.Beat{Node: "a", Applied: f.Position()}); err != nil {
		t.Fatal(err)
	}
	// Without cluster mode the error says that it is one.
	opts.Cluster, opts.DB = false, 1
	wantWords(t, "Append to database 1", open(t, opts).Append(background, newBatch("b", 1)), "turn on cluster mode")
}

func TestWaitReplicas(t *testing.T) {
	p := startPair(t)
	opts := p.master.options()
	opts.WaitReplicas, opts.Timeout = 1, time.Second
	s := open(t, opts)
	appendTo(t, s, newBatch("a", 1)...)
	if _, err := s.Beat(background, revocation.Beat{Node: "a"}); err != nil {
		t.Fatal(err)
	}
	p.replica.pause()
	defer p.replica.resume()
	wantWords(t, "Append without the replica", s.Append(background, newBatch("b", 1)), "0 of its replicas have the records, and 1 must")
	_, err := s.Beat(background, revocation.Beat{Node: "a"})
	wantWords(t, "Beat without the replica", err, "0 of its replicas")
	p.replica.resume()
	eventually(t, "the replica has it", func() bool { return s.Append(background, newBatch("c", 1)) == nil })
}
