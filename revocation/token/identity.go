package token

// This file answers which bytes of a token make it that token and no other. The
// answer must be the same for every spelling that any library accepts, and
// different for any two tokens that an issuer told apart.

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// The identities of the kinds of tokens begin with different words, so that no
// token of one kind has the fingerprint of another kind's. Those of JWS and JWE
// are of one length: see segments.load.
const (
	domainJWS    = "jws\x00"
	domainJWE    = "jwe\x00"
	domainOpaque = "opaque\x00"
	domainHMAC   = "hmac\x00"
)

// sextets maps the bytes of both base64 alphabets (RFC 4648 §4 and §5) to their
// values, and all others to notSextet.
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = notSextet
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(alphabet) {
		table[alphabet[i]] = byte(i)
	}
	table['+'], table['/'] = table['-'], table['_']
	return table
}()

const notSextet = 0xff

// appendLenient appends what the most tolerant of decoders makes of s: both
// alphabets, any other byte skipped, trailing bits ignored. It can't fail.
func appendLenient[T string | []byte](dst []byte, s T) []byte {
	var bits uint32
	n := 0
	for i := range len(s) {
		v := sextets[s[i]]
		if v == notSextet {
			continue
		}
		bits = bits<<6 | uint32(v)
		if n += 6; n >= 8 {
			n -= 8
			dst = append(dst, byte(bits>>n))
		}
	}
	return dst
}

var strictEncoding = base64.RawURLEncoding.Strict()

// appendDecoded appends the decoded segment and reports whether the segment is
// the one canonical spelling of it: RFC 7515 §2, base64url without padding,
// line breaks, white space or other additional characters.
func appendDecoded(dst, segment []byte) ([]byte, bool) {
	start := len(dst)
	size := base64.RawURLEncoding.DecodedLen(len(segment))
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, 2*(start+size)), dst...)
	}
	// Strict still skips CR and LF. A length of 1 modulo 4 never is canonical,
	// and for the other lengths one skipped byte always makes the result shorter.
	n, err := strictEncoding.Decode(dst[start:start+size], segment)
	if err == nil && n == size && len(segment)%4 != 1 {
		return dst[:start+size], true
	}
	return appendLenient(dst[:start], segment), false
}

// maxSegments is the number of segments of a JWE: RFC 7516 §7.1.
const maxSegments = 5

// segments are the parts of a token between its dots, as received and decoded.
type segments struct {
	text    []byte // room for the domain, then the token
	ends    [maxSegments]int
	count   int // of all segments, even more than maxSegments
	decoded []byte
	marks   [maxSegments]int // where each decoded segment ends
}

const domainBytes = len(domainJWS)

// load copies the token in and finds its segments. The room before it lets a
// canonical token be hashed in one piece.
func (s *segments) load(token string) {
	s.text = append(append(s.text[:0], domainJWS...), token...)
	s.decoded, s.count = s.decoded[:0], 0
	at := domainBytes
	for {
		i := strings.IndexByte(token, '.')
		end := at + i
		if i < 0 {
			end = at + len(token)
		}
		if s.count < maxSegments {
			s.ends[s.count] = end
		}
		s.count++
		if i < 0 {
			return
		}
		token, at = token[i+1:], end+1
	}
}

// segment returns segment i as received.
func (s *segments) segment(i int) []byte {
	start := domainBytes
	if i > 0 {
		start = s.ends[i-1] + 1
	}
	return s.text[start:s.ends[i]]
}

// decode decodes segment i, which must be the next one, and reports whether it
// was canonical.
func (s *segments) decode(i int) (canonical bool) {
	s.decoded, canonical = appendDecoded(s.decoded, s.segment(i))
	s.marks[i] = len(s.decoded)
	return canonical
}

// bytes returns the decoded segment i. It holds until the next load.
func (s *segments) bytes(i int) []byte {
	start := 0
	if i > 0 {
		start = s.marks[i-1]
	}
	return s.decoded[start:s.marks[i]]
}

// fingerprintJWS hashes the header and the payload, never the signature: every
// ECDSA signature has a twin. Of the header it takes the JSON object only, since
// jwx verifies the object that it has parsed, whatever was around it.
func (s *segments) fingerprintJWS(object span, canonical bool) revocation.Fingerprint {
	header := s.bytes(0)
	if canonical && object.end-object.start == len(header) {
		return sha256.Sum256(s.text[:s.ends[1]])
	}
	b := append(make([]byte, 0, len(s.text)+maxSegments), domainJWS...)
	b = base64.RawURLEncoding.AppendEncode(b, header[object.start:object.end])
	b = append(b, '.')
	b = base64.RawURLEncoding.AppendEncode(b, s.bytes(1))
	return sha256.Sum256(b)
}

// fingerprintJWE hashes all segments but the encrypted key, as if it were empty:
// dir and ECDH-ES have none, and libraries overlook what is in its place. The
// initialization vector and the tag tell tokens apart.
func (s *segments) fingerprintJWE(canonical bool) revocation.Fingerprint {
	if canonical && len(s.segment(1)) == 0 {
		copy(s.text, domainJWE)
		return sha256.Sum256(s.text[:s.ends[maxSegments-1]])
	}
	b := append(make([]byte, 0, len(s.text)+maxSegments), domainJWE...)
	for i := range maxSegments {
		if i > 0 {
			b = append(b, '.')
		}
		if i != 1 {
			b = base64.RawURLEncoding.AppendEncode(b, s.bytes(i))
		}
	}
	return sha256.Sum256(b)
}

// opaqueFingerprint identifies a token that isn't a JWT by its exact bytes,
// with one exception: see appendHMACToken.
func (s *segments) opaqueFingerprint(token string) revocation.Fingerprint {
	var ok bool
	if s.text, ok = s.appendHMACToken(s.text[:0], token); !ok {
		s.text = append(append(s.text[:0], domainOpaque...), token...)
	}
	return sha256.Sum256(s.text)
}

// signatureChars is the length of 32 bytes in base64url.
const signatureChars = 43

// appendHMACToken appends the identity of an access token in the format of Ory
// Fosite, which Hydra and others use: a random key and its HMAC, both base64url,
// joined by a dot. Fosite verifies the HMAC of the decoded key, so that the key
// has several spellings, accepts the token without its prefix (ory_at_) as well,
// and stores it under the HMAC as spelled, so that this has only one.
//
// The HMAC alone would do, but then whoever has seen Fosite's table could revoke
// its tokens. With the key, two tokens of any other issuer that happen to have
// this format are taken for one only if they are equal but for bits that no
// decoder reads.
func (s *segments) appendHMACToken(b []byte, token string) ([]byte, bool) {
	rest, prefixed := token, false
	for _, prefix := range [...]string{"ory_at_", "ory_rt_", "ory_ac_"} {
		if rest, prefixed = strings.CutPrefix(token, prefix); prefixed {
			break
		}
	}
	key, signature, ok := strings.Cut(rest, ".")
	if !ok || len(signature) != signatureChars || len(key) < 2 {
		return b, false
	}
	for i := range len(signature) {
		if c := signature[i]; sextets[c] == notSextet || c == '+' || c == '/' {
			return b, false
		}
	}
	// CR and LF are what Go's decoder skips.
	for i := range len(key) {
		if c := key[i]; c != '\r' && c != '\n' && (sextets[c] == notSextet || c == '+' || c == '/') {
			return b, false
		}
	}
	b = append(b, domainHMAC...)
	s.decoded = appendLenient(s.decoded[:0], key)
	b = base64.RawURLEncoding.AppendEncode(b, s.decoded)
	b = append(b, '.')
	return append(b, signature...), true
}
