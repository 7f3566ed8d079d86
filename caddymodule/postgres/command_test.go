package postgres

import (
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation/pgstore"
)

func TestSchemaCommand(t *testing.T) {
	for args, want := range map[string]string{"": pgstore.Schema(""), "--schema=other": pgstore.Schema("other")} {
		cmd := schemaCommand()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.Execute(); err != nil || out.String() != want {
			t.Errorf("%q: %v: %s", args, err, &out)
		}
	}
}
