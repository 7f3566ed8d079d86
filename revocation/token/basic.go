package token

// This file reads tokens in Basic credentials (RFC 7617), where clients of git,
// package registries and the like put them.

import "strings"

// oauthBasic is the password of those who put the token in the user's place.
const oauthBasic = "x-oauth-basic"

// basic adds the tokens of every Basic credential in an Authorization value.
func (c *collector) basic(value string) {
	for at := 0; !c.overflow; {
		start, end, _ := nextWord(value, at)
		if start == end {
			return
		}
		at = end
		if strings.EqualFold(value[start:end], "basic") {
			if start, end, comma := nextWord(value, at); start < end && !comma {
				c.userAndPassword(value[start:end])
			}
		}
	}
}

// userAndPassword adds the one that is a token, and the other as a probe.
func (c *collector) userAndPassword(credential string) {
	user, password, _ := strings.Cut(string(appendLenient(nil, credential)), ":")
	c.add(password, "Basic", password == oauthBasic)
	c.add(user, "Basic", password != "" && password != oauthBasic && !looksSigned(user))
}
