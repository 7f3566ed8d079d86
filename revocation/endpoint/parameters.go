// The parameters of a request, whatever the dialect: RFC 7009 §2.1 and RFC 6749
// §2.3.1.

package endpoint

// parameter is one that means something here. All others are ignored: RFC 6749
// §3.2.
type parameter uint8

const (
	paramToken parameter = iota
	paramTokenTypeHint
	paramClientID
	paramClientSecret
	paramClientAssertion     // RFC 7521 §4.2
	paramClientAssertionType // RFC 7521 §4.2
	parameterCount
)

var parameterNames = [parameterCount]string{
	"token", "token_type_hint", "client_id", "client_secret", "client_assertion", "client_assertion_type",
}

// maxParameters is how many parameters a body may have, known or not.
const maxParameters = 100

// parameters are those that were given. An empty one counts as omitted, as RFC
// 6749 §3.2 says.
type parameters struct {
	values [parameterCount]string
	given  [parameterCount]bool // empty or not: none may be given twice
}

func (p *parameters) get(which parameter) string { return p.values[which] }

// lookUpParameter finds a known parameter. Names are case-sensitive: RFC 6749 §1.9.
func lookUpParameter(name string) (parameter, bool) {
	for i, known := range parameterNames {
		if name == known {
			return parameter(i), true
		}
	}
	return 0, false
}

// syntaxError is why a body has no parameters. It is told to the client, so it
// has nothing of the body in it.
type syntaxError string

func (e syntaxError) Error() string { return string(e) }

const errTooManyParameters = syntaxError("the body has too many parameters")

func (p *parameters) set(which parameter, value string) error {
	if p.given[which] {
		return syntaxError(parameterNames[which] + " is given twice")
	}
	p.given[which] = true
	p.values[which] = value
	return nil
}

// readParameters decodes the body. The query is never read: RFC 6749 §2.3.1 and
// §3.2, RFC 7009 §2.1.
func (s *Server) readParameters(x *exchange) *answer {
	parse := parseForm
	if x.dialect == jsonDialect {
		parse = parseJSON
	}
	params, err := parse(x.body)
	if err != nil {
		return invalidRequest(err.Error())
	}
	x.params = params
	return nil
}
