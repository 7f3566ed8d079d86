package endpoint

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkServeHTTP is a whole revocation but for the store: a JWT in a form, a
// confidential client with Basic and a fast hash.
func BenchmarkServeHTTP(b *testing.B) {
	for name, repeat := range map[string]bool{"new": false, "repeated": true} {
		b.Run(name, func(b *testing.B) {
			o := options()
			list := new(stub)
			o.List = list
			o.Limits = Limits{LiveTotal: -1, Confidential: Quota{-1, -1, -1}}
			s, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			r := message{basic: app}.request()
			padding := strings.Repeat("x", 500)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if repeat {
					i = 0
				}
				body := "token_type_hint=access_token&token=" + jwt(fmt.Sprintf(`{"exp":4102444800,"sub":"%s","jti":"%d"}`, padding, i))
				r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
				w := discard{header: http.Header{}}
				s.ServeHTTP(&w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
				if len(list.records) > 1000 {
					list.records = list.records[:0]
				}
			}
		})
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
