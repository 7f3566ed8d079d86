// The body of RFC 7009 §2.1, application/x-www-form-urlencoded as in RFC 6749
// appendix B. net/url's parser goes on after an error and keeps no count of what
// stands twice.

package endpoint

import (
	"net/url"
	"strings"
)

const (
	errSemicolon = syntaxError("parameters must be separated by & and not by a semicolon")
	errEscape    = syntaxError("the body has a percent sign without two hexadecimal digits behind it")
)

// parseForm reads a form. What it accepts, url.ParseQuery reads alike.
func parseForm(body []byte) (parameters, error) {
	var p parameters
	rest, count := string(body), 0
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		if count++; count > maxParameters {
			return parameters{}, errTooManyParameters
		}
		if strings.Contains(pair, ";") {
			return parameters{}, errSemicolon
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return parameters{}, errEscape
		}
		value, err = url.QueryUnescape(value)
		if err != nil {
			return parameters{}, errEscape
		}
		which, known := lookUpParameter(name)
		if !known {
			continue
		}
		if err := p.set(which, value); err != nil {
			return parameters{}, err
		}
	}
	return p, nil
}
