package token

// This file reads tokens that browsers put among the subprotocols of a
// WebSocket, since they can't set headers.

import "strings"

// webSocketHeader is Sec-WebSocket-Protocol (RFC 6455 §11.3.4) as net/http
// spells it.
const webSocketHeader = "Sec-Websocket-Protocol"

// kubernetesPrefix is in front of a token in base64url: Kubernetes,
// apiserver/pkg/authentication/request/websocket.
const kubernetesPrefix = "base64url.bearer.authorization.k8s.io."

// webSocketProtocols adds the tokens of one line.
func (c *collector) webSocketProtocols(line string) {
	announced := false
	for more := true; more; {
		var entry string
		entry, line, more = strings.Cut(line, ",")
		if entry = trimSpace(entry); entry == "" {
			continue
		}
		if prefix := len(kubernetesPrefix); len(entry) > prefix && strings.EqualFold(entry[:prefix], kubernetesPrefix) {
			c.token(string(appendLenient(nil, entry[prefix:])), "")
			c.probe(entry[prefix:])
			announced = false
			continue
		}
		if rest, ok := cutProtocolPrefix(entry); ok {
			c.token(rest, "")
			c.readings(rest)
			c.probe(entry)
		} else if announced || looksSigned(entry) {
			c.token(entry, "")
			c.readings(entry)
		} else if announcesToken(entry) {
			announced = true
			continue
		} else {
			c.probeWord(entry)
		}
		announced = false
	}
}

// announcesToken reports whether the next entry is a token.
func announcesToken(entry string) bool {
	for _, name := range [...]string{"bearer", "access_token", "authorization", "token"} {
		if strings.EqualFold(entry, name) {
			return true
		}
	}
	return false
}

func cutProtocolPrefix(entry string) (string, bool) {
	for _, prefix := range [...]string{"access_token.", "bearer.", "authorization.bearer.", "token."} {
		if len(entry) > len(prefix) && strings.EqualFold(entry[:len(prefix)], prefix) {
			return entry[len(prefix):], true
		}
	}
	return "", false
}
