package token

// This file reads Authorization and headers like it. RFC 9110 §11.6.2 allows one
// scheme and its credentials. What upstreams take out of a header is another
// matter: they split at spaces, cut off seven bytes, remove the word Bearer, or
// search for it. Every result must be among the candidates.

import (
	"net/http"
	"strings"
)

// maxGluedSchemes is how often Bearer may be in a value without white space
// around it. The readings of such a value are many, and nobody has a use for it.
const maxGluedSchemes = 8

const tooManySchemes = "a header has too many authentication schemes"

// authorization adds what a header value may have as tokens.
func (c *collector) authorization(value string) {
	// The two usual cases. Who cuts off seven bytes blindly sees something else
	// in the second.
	if len(value) > 7 && value[6] == ' ' && strings.EqualFold(value[:6], SchemeBearer) && isPlain(value[7:]) {
		c.token(value[7:], SchemeBearer)
		return
	}
	if len(value) > 5 && value[4] == ' ' && strings.EqualFold(value[:4], SchemeDPoP) && isPlain(value[5:]) {
		c.token(value[5:], SchemeDPoP)
		c.cutBlindly(value)
		return
	}
	if strings.IndexByte(value, '{') >= 0 {
		if token, ok := serializedIn(value); ok {
			start, end, _ := nextWord(value, 0)
			scheme, _ := tokenScheme(value[start:end])
			c.token(token, scheme)
		}
	}
	// Once, since it would be done again behind every scheme.
	value = strings.TrimRightFunc(value, func(r rune) bool { return r < 0x80 && isSpace(byte(r)) })
	lastComma := strings.LastIndexByte(value, ',')
	foreign := false   // there are credentials of a scheme that has no tokens
	hasBearer := false // known where foreign is true
	afterComma := false
	for at := 0; !c.overflow; {
		start, end, comma := nextWord(value, at)
		if start == end {
			break
		}
		afterComma = afterComma || comma
		word := value[start:end]
		if scheme, ok := tokenScheme(word); ok {
			c.secret, c.onlyJWTs = false, false
			c.rest(value, end, lastComma)
			at = c.credential(value, end, scheme, false)
		} else if c.secret {
			// Passwords and the like, but for an upstream that ignores the scheme.
			c.probeWord(word)
			at = end
		} else if foreignScheme(word) {
			if !foreign {
				foreign, hasBearer = true, indexBearer(value, 0) >= 0
			}
			c.secret, c.onlyJWTs = true, !hasBearer // nobody searches for another scheme
			c.probe(trimSpace(value[end:]))
			at = end
		} else if s, e, comma := nextWord(value, end); comma || s == e || isScheme(value[s:e]) {
			// A word alone: the credential itself, or one more parameter.
			if !afterComma {
				c.rest(value, start, lastComma)
			}
			at = c.credential(value, start, "", afterComma && isParameter(word))
		} else {
			c.probeWord(word)
			if !afterComma {
				c.rest(value, end, lastComma)
			}
			at = c.credential(value, end, word, afterComma && isParameter(word))
		}
	}
	c.secret, c.onlyJWTs = foreign, false
	c.cutBlindly(value)
	c.removeScheme(value)
	c.secret = false
}

// rest adds all that is behind a scheme where there is a comma in it: a token
// may have one (RFC 6749 appendix A.12).
func (c *collector) rest(value string, at, lastComma int) {
	if start, end, _ := nextWord(value, at); at <= lastComma && start < end {
		c.probe(trimSpace(value[at:]))
	}
}

// nextWord returns the bounds of the first word at or after at, which are equal
// if there is none, and whether there is a comma before it.
func nextWord(value string, at int) (start, end int, comma bool) {
	for at < len(value) && (isSpace(value[at]) || value[at] == ',') {
		comma = comma || value[at] == ','
		at++
	}
	start = at
	for at < len(value) && !isSpace(value[at]) && value[at] != ',' {
		at++
	}
	return start, at, comma
}

func isScheme(word string) bool {
	_, ok := tokenScheme(word)
	return ok
}

// isParameter reports whether a word is an auth-param (RFC 9110 §11.2): it has
// an equals sign that isn't padding.
func isParameter(word string) bool {
	i := strings.IndexByte(word, '=')
	return i > 0 && strings.Trim(word[i:], "=") != ""
}

// credential adds the words from at up to the next comma or scheme, and returns
// where it stopped. Together they are the credential: many decoders skip white
// space inside a JWT. To other readers each of them is.
func (c *collector) credential(value string, at int, scheme string, parameter bool) int {
	first, last, words := at, at, 0
	for {
		start, end, comma := nextWord(value, last)
		if start == end || comma || isScheme(value[start:end]) {
			break
		}
		if words == 0 {
			first = start
		}
		words++
		last = end
	}
	if words == 0 {
		return last
	}
	whole := value[first:last]
	c.add(whole, scheme, parameter)
	if words == 1 {
		c.readings(whole)
		return last
	}
	var joined strings.Builder
	for at := first; at < last && !c.overflow; {
		start, end, _ := nextWord(whole, at-first)
		c.probeWord(whole[start:end])
		joined.WriteString(whole[start:end])
		at = first + end
	}
	c.probe(joined.String())
	return last
}

// probeWord adds a word and its readings.
func (c *collector) probeWord(word string) {
	c.probe(word)
	c.readings(word)
}

// readings adds what sloppy readers may take for a token in a word. Too long a
// word is refused, but for a Kerberos ticket, in which there is nothing to find.
func (c *collector) readings(word string) {
	if len(word) > MaxTokenBytes && !(c.secret && isBase64(word)) {
		c.fail(http.StatusBadRequest, tooLong)
	}
	if len(word) > MaxTokenBytes || c.overflow || isPlain(word) {
		return
	}
	// Token token="abc": RFC 9110 §11.2.
	for i := 1; i < len(word) && !c.overflow; i++ {
		if word[i] == '=' && word[i-1] != '=' && isParameter(word[i-1:]) {
			value := word[i+1:]
			c.probe(value)
			c.probe(strings.Trim(value, `"'`))
			value, _, _ = strings.Cut(strings.TrimLeft(value, `"`), `"`)
			c.probe(value)
		}
	}
	c.probe(strings.Trim(word, `"'`))
	// DPoP:abc, DPoPabc.
	if len(word) > len(SchemeDPoP) && strings.EqualFold(word[:len(SchemeDPoP)], SchemeDPoP) {
		c.part(word[len(SchemeDPoP):])
	}
	if !isASCII(word) {
		c.splitAtForeignSpaces(word)
	}
	c.betweenSchemes(word)
	c.runs(word)
}

// splitAtForeignSpaces adds what remains of a word for readers to whom NBSP and the
// like are white space: in UTF-8, in Latin-1, and in any other encoding.
func (c *collector) splitAtForeignSpaces(word string) {
	for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return r >= 0x80 }) {
		c.probe(part)
	}
	for part := range strings.FieldsSeq(word) {
		c.probe(part)
	}
	start := 0
	for i := range len(word) {
		if isLatin1Space(word[i]) {
			c.probe(word[start:i])
			start = i + 1
		}
	}
	c.probe(word[start:])
}

// betweenSchemes adds what remains of a word that is split at the scheme, which
// may be in it several times in several spellings.
func (c *collector) betweenSchemes(word string) {
	switch n := countBearer(word); {
	case n == 0:
		return
	case n > maxGluedSchemes:
		c.fail(http.StatusBadRequest, tooManySchemes)
		return
	}
	for start := 0; start >= 0 && !c.overflow; {
		next := indexBearer(word, start)
		for end := next; end >= 0 && !c.overflow; end = indexBearer(word, end+1) {
			c.part(word[start:end])
		}
		c.part(word[start:])
		if start = next; next >= 0 {
			start += len(bearer)
		}
	}
}

// part adds a part of a word.
func (c *collector) part(part string) {
	c.probe(part)
	c.probe(trimToToken(part))
	c.runs(part)
}

// runs adds the b64tokens in a word: some readers search for one, and NBSP and
// the like are white space to others. Inside a run they find a JWT after bytes
// that a JWT can't have.
func (c *collector) runs(word string) {
	for i := 0; i < len(word) && !c.overflow; {
		if !tokenBytes[word[i]] {
			i++
			continue
		}
		start := i
		for i < len(word) && tokenBytes[word[i]] {
			i++
		}
		for i < len(word) && word[i] == '=' {
			i++
		}
		run := word[start:i]
		if !c.onlyJWTs || looksSigned(run) {
			c.probe(run)
		}
		for j := 1; j < len(run); j++ {
			if b := run[j-1]; (b == '~' || b == '+' || b == '/') && looksSigned(run[j:]) {
				c.probe(run[j:])
			}
		}
	}
}

// cutBlindly adds what is left by readers that cut off as many bytes as
// "Bearer " has, whatever they are.
func (c *collector) cutBlindly(value string) {
	if len(value) <= 7 {
		return
	}
	c.probeWordIn(value[7:])
}

// probeWordIn adds a word that has nothing but white space around it, in whatever
// sense of white space that is so.
func (c *collector) probeWordIn(s string) {
	for _, trim := range [...]func(string) string{trimSpace, strings.TrimSpace, trimLatin1Space} {
		if word := trim(s); oneWord(word) {
			c.probe(word)
		}
		if isASCII(s) {
			return
		}
	}
}

func oneWord(s string) bool {
	_, end, comma := nextWord(s, 0)
	return end == len(s) && !comma
}

// removeScheme adds what is left by readers that remove the word Bearer wherever
// it is: in BeaBearerrer A, in eyJhBearer bGci. Only a scheme that is glued to
// something makes a difference here.
func (c *collector) removeScheme(value string) {
	glued := 0
	for i := indexBearer(value, 0); i >= 0; i = indexBearer(value, i+1) {
		end := i + len(bearer)
		if i > 0 && !isSpace(value[i-1]) || end < len(value) && !isSpace(value[end]) {
			glued++
		}
	}
	switch {
	case glued == 0:
		return
	case glued > maxGluedSchemes || len(value) > 2*MaxTokenBytes:
		c.fail(http.StatusBadRequest, tooManySchemes)
		return
	}
	c.probeRemoved(value, "")
	var last string
	for i := indexBearer(value, 0); i >= 0 && !c.overflow; i = indexBearer(value, i+1) {
		if spelling := value[i : i+len(bearer)]; spelling != last {
			c.probeRemoved(value, spelling)
			last = spelling
		}
	}
}

// probeRemoved adds what is left when one spelling of the scheme is removed, or
// every spelling if it is empty: the first or all, wherever it is or only with
// white space behind it, one byte or all of that.
func (c *collector) probeRemoved(value, spelling string) {
	for _, all := range [...]bool{false, true} {
		for _, spaces := range [...]int{0, 1, len(value)} {
			var b strings.Builder
			at := 0
			for i := indexBearer(value, 0); i >= 0; {
				end := i + len(bearer)
				if spelling != "" && value[i:end] != spelling || spaces > 0 && (end == len(value) || !isSpace(value[end])) {
					i = indexBearer(value, i+1)
					continue
				}
				b.WriteString(value[at:i])
				at = end
				for n := 0; n < spaces && at < len(value) && isSpace(value[at]); n++ {
					at++
				}
				if !all {
					break
				}
				i = indexBearer(value, at)
			}
			b.WriteString(value[at:])
			for part := range strings.SplitSeq(b.String(), ",") {
				c.probeWordIn(part)
			}
		}
	}
}
