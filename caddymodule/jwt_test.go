package caddymodule

import (
	"encoding/base64"
	"testing"
)

// jwt returns a JWT with the given payload and some signature.
func jwt(t testing.TB, payload string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + b64([]byte(payload)) + "." + b64(make([]byte, 64))
}

// jwtOf returns a JWT with a header and a payload, and no signature.
func jwtOf(_ testing.TB, header, payload string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(header)) + "." + b64([]byte(payload)) + "."
}
