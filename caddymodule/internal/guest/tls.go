package guest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
)

// TLS says how the server is recognized, and how this node is. The files are in PEM.
// Placeholders are possible.
type TLS struct {
	// Files with the authorities that may have signed the server's certificate. Default:
	// the system's.
	CA []string `json:"ca,omitempty"`

	// The files with this node's certificate and its key. Default: none.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`

	// The name in the server's certificate. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`
}

var (
	errHalfPair = errors.New("tls: cert and key belong together")
	errKeyPair  = errors.New("tls: cert and key aren't a certificate in PEM and its key")
)

// Config reads the files. An error about a placeholder or about reading is with r.
func (t *TLS) Config(r *placeholder.Resolver) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.Text("tls: server_name", t.ServerName)}
	for _, path := range t.CA {
		content := r.File("tls: ca", path)
		if r.Err() != nil {
			return nil, nil
		}
		if c.RootCAs == nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("tls: ca: %s has no certificate in PEM", path)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errHalfPair
	}
	if t.Cert == "" {
		return c, nil
	}
	cert, key := r.File("tls: cert", t.Cert), r.File("tls: key", t.Key)
	if r.Err() != nil {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, errKeyPair
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// Unmarshal reads the block of the subdirective tls:
//
//	tls {
//		ca          <paths...>
//		cert        <path>
//		key         <path>
//		server_name <name>
//	}
func (t *TLS) Unmarshal(d *caddyfile.Dispenser) error {
	if err := None(d); err != nil {
		return err
	}
	return Block(d, "ca, cert, key, server_name", func(name string) (known bool, err error) {
		switch name {
		case "ca":
			if t.CA = d.RemainingArgs(); len(t.CA) == 0 {
				err = d.Err("'ca' needs files")
			}
		case "cert":
			err = One(d, "a file", &t.Cert)
		case "key":
			err = One(d, "a file", &t.Key)
		case "server_name":
			err = One(d, "a name", &t.ServerName)
		default:
			return false, nil
		}
		return true, err
	})
}
