package issuer

// This file reads the answer to a question about a token, RFC 7662 §2.2, and says how
// long it counts.

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"time"
)

// Errors of answers. They don't quote what they are about.
var (
	errNoAnswer = errors.New("its answer isn't a JSON object that everybody reads alike")
	// errUnsupported says that the issuer doesn't tell about tokens of the type. Then
	// the token is as good as its signature.
	errUnsupported = errors.New("tokens of its type are not told about")

	errNoActive = errors.New("its answer has no active that is true or false")
)

// parseAnswer reads an answer. Claims that are null
// aren't there. Nothing but active counts in an answer that says that the token isn't.
//
// Whether the token has its time is left to who knows what time it is.
func parseAnswer(body []byte) (claims Claims, active bool, err error) {
	claims, err = parseClaims(body)
	if err != nil {
		return nil, false, errNoAnswer
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	active, ok := claims["active"].(bool)
	if !ok {
		return nil, false, errNoActive
	}
	if !active {
		return nil, false, nil
	}
	if err := checkAnswer(claims); err != nil {
		return nil, false, err
	}
	return claims, true, nil
}

// unsupported reports whether a refusal is about the type of the token. RFC 7662 knows
// none such; oidc-provider has it from RFC 7009 §2.2.1.
func unsupported(body []byte) bool {
	claims, err := parseClaims(body)
	return err == nil && claims.Text("error") == "unsupported_token_type"
}

// checkAnswer reports a claim that isn't of the type that RFC 7662 §2.2 gives it:
// what somebody makes of it elsewhere can't be known.
func checkAnswer(claims Claims) error {
	for _, name := range [...]string{"iss", "sub", "client_id", "jti"} {
		if _, text := claims[name].(string); claims.has(name) && !text {
			return fmt.Errorf("its answer has %s, which is not a string", name)
		}
	}
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		if _, _, err := claims.number(name); err != nil {
			return fmt.Errorf("its answer has %s, which %w", name, err)
		}
	}
	if claims.has("aud") && claims.texts("aud") == nil {
		return errors.New("its answer has aud, which is neither a string nor an array of strings")
	}
	return nil
}

// lasts returns what tells whether so much time hasn't passed yet since a moment.
func lasts(since time.Time, d time.Duration) func(now time.Time) bool {
	return func(now time.Time) bool { return passed(since, now) < d }
}

// passed is how much time has passed since a moment, at least.
func passed(since, now time.Time) time.Duration {
	// Round strips the monotonic reading.
	return longer(now.Round(0).Sub(since.Round(0)), now.Sub(since))
}

// longer is how much time has passed by two clocks. The one that can't be set stands
// still while the machine sleeps, so the wall clock counts as well. Where that one was
// set back there is no telling: as much as can be.
func longer(wall, elapsed time.Duration) time.Duration {
	if wall < 0 {
		return math.MaxInt64
	}
	return max(wall, elapsed)
}
