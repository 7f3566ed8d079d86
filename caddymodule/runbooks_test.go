package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRunbooks carries out docs/operations.md word for word, each section with a Caddy of
// its own, and compares what the commands print. Ids, fingerprints, times and names are
// others than on the page: the page's ids stand for those that there are in their place.
func TestRunbooks(t *testing.T) {
	page := read(t, "docs/operations.md")
	setUp := tourSteps(t, section(t, page, "Before anything has happened"))
	for _, runbook := range []string{
		"A token leaked", "A user left", "A signing key leaked", "The store is down", "Too many rejections after a change",
	} {
		t.Run(runbook, func(t *testing.T) {
			steps := tourSteps(t, section(t, page, runbook))
			if len(steps) < 3 {
				t.Fatalf("only %d commands", len(steps))
			}
			demo := newDemo(t)
			makeRoom := func() {}
			if runbook == "The store is down" {
				demo.dir = smallDisk(t, "2m")
			}
			demo.start(t)
			if runbook == "The store is down" {
				makeRoom = demo.fillDisk(t)
			}
			shell := startShell(t)
			shell.run(t, fmt.Sprintf("cd %s; export TZ=UTC CADDY_ADMIN=%s; caddy() { %s \"$@\"; }", t.TempDir(), demo.admin, buildCaddy(t)))
			ids := map[string]string{}
			for _, step := range append(setUp[:len(setUp):len(setUp)], steps...) {
				if strings.HasPrefix(step.command, "caddy tokens status | head") {
					makeRoom()
				}
				command := demo.ports.Replace(withIDs(step.command, ids))
				got := shell.run(t, command)
				noteIDs(ids, step.want, got)
				if !printedAlike(got, step.want) {
					t.Fatalf("$ %s\n%s\nthe page prints\n%s", command, got, step.want)
				}
			}
		})
	}
}

// fillDisk leaves no room for the demo's store, with two revocations that aren't durable.
// It returns what makes room, and waits until they are.
func (d *demo) fillDisk(t *testing.T) (makeRoom func()) {
	t.Helper()
	ballast := filepath.Join(d.dir, "ballast")
	fillDisk(t, ballast)
	endpoint := d.ports.Replace("http://localhost:8081/oauth2/revoke")
	for pending := 0; pending < 2; {
		// The first ones may go into pages that the file has already.
		if a := postAs(t, endpoint, "web-app", demoSecret(t), fmt.Sprint("token ", pending)); a.status == http.StatusServiceUnavailable {
			pending++
		}
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		postAs(t, endpoint, "web-app", demoSecret(t), "token 1") // returns when it is durable
	}
}

// demoSecret returns the secret of the demo's client.
func demoSecret(t *testing.T) string {
	t.Helper()
	secret := regexp.MustCompile(`web-app:([\w-]{20,})`).FindStringSubmatch(read(t, "README.md"))
	if secret == nil {
		t.Fatal("the README has no secret")
	}
	return secret[1]
}

var revocationID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// noteIDs learns which ids are printed where the page has its own.
func noteIDs(ids map[string]string, page, printed string) {
	real := revocationID.FindAllString(printed, -1)
	for i, id := range revocationID.FindAllString(page, -1) {
		if i < len(real) {
			ids[id] = real[i]
		}
	}
}

func withIDs(command string, ids map[string]string) string {
	return revocationID.ReplaceAllStringFunc(command, func(id string) string { return ids[id] })
}

// changes are what differs from one time to the next, and what it is compared as.
var changes = []struct {
	what *regexp.Regexp
	by   string
}{
	{revocationID, "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?( UTC|Z)`), "TIME"},
	{regexp.MustCompile(`in \d+ (s|min|h|d)\b|\b\d+ (s|min|h|d) ago|\(now\)`), "WHEN"},
	{regexp.MustCompile(`\b[\w-]{43}\b`), "FINGERPRINT"},
	{regexp.MustCompile(`\bcli:\S+@[\w.-]+`), "WHO"},
	{regexp.MustCompile(`/\S+records\.db`), "FILE"},
	{regexp.MustCompile(`[()]`), ""},
	{regexp.MustCompile(` +`), " "},
}

// printedAlike reports whether a command printed what the page says. A last line with an
// ellipsis stands for anything.
func printedAlike(got, want string) bool {
	for _, c := range changes {
		got, want = c.what.ReplaceAllString(got, c.by), c.what.ReplaceAllString(want, c.by)
	}
	if beginning, ok := strings.CutSuffix(want, "\n…\n"); ok {
		return strings.HasPrefix(got, beginning+"\n")
	}
	return got == want
}
