package caddymodule

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

// These tests hold the README and the pages in docs to what is true.

// runDemo is the README's command that runs the demo, which the tour repeats for
// a restart.
const runDemo = "go run ./cmd/caddy run --config Caddyfile.example"

// TestTour takes the README's tour as a reader would, in bash, with a Caddy that
// runs Caddyfile.example, and compares every printed line. Only the ports are
// others. At the end it looks for the token and the secret in everything that
// Caddy has written.
func TestTour(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program)
		}
	}
	readme := read(t, "README.md")
	if got := fences(section(t, readme, "Set-up"), "sh"); !slices.Equal(got, []string{runDemo + "\n", "go test -timeout 30m ./...\n"}) {
		t.Errorf("the set-up has other commands: %q", got)
	}
	steps := tourSteps(t, section(t, readme, "A 60-second tour"))
	if len(steps) < 10 {
		t.Fatalf("the tour has %d commands", len(steps))
	}

	demo := newDemo(t)
	demo.start(t)
	shell := startShell(t)
	restarts := 0
	for _, step := range steps {
		if step.command == runDemo {
			demo.stop(t)
			demo.start(t)
			restarts++
			continue
		}
		if got := shell.run(t, demo.ports.Replace(step.command)); got != demo.ports.Replace(step.want) {
			t.Fatalf("$ %s\n%s\nthe README prints\n%s", step.command, got, step.want)
		}
	}
	if restarts == 0 {
		t.Error("the tour has no restart")
	}

	token := strings.TrimSpace(shell.run(t, "echo $TOKEN"))
	secret := regexp.MustCompile(`web-app:([\w-]{20,})`).FindStringSubmatch(readme)
	if len(token) < 10 || secret == nil {
		t.Fatalf("no token (%q) or no secret (%q)", token, secret)
	}
	demo.stop(t)
	demo.searchFor(t, token, secret[1])
}

// tourStep is a command of the tour and what it prints.
type tourStep struct{ command, want string }

// tourSteps reads the commands, which stand behind "$ ", and their output.
func tourSteps(t *testing.T, text string) (steps []tourStep) {
	t.Helper()
	for _, fence := range fences(text, "console") {
		for line := range strings.Lines(fence) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, tourStep{command: strings.TrimSpace(command)})
			} else if len(steps) == 0 {
				t.Fatalf("output without a command: %s", line)
			} else {
				steps[len(steps)-1].want += line
			}
		}
	}
	return steps
}

// demo is a Caddy that runs Caddyfile.example on other ports.
type demo struct {
	dir   string // for what Caddy keeps
	file  string
	admin string
	ports *strings.Replacer // from the demo's to the test's
	open  []string          // addresses that it serves
	cmd   *exec.Cmd
	logs  bytes.Buffer
}

func newDemo(t *testing.T) *demo {
	ports := freePorts(t)
	d := &demo{dir: t.TempDir(), file: filepath.Join(t.TempDir(), "Caddyfile"), admin: fmt.Sprintf("localhost:%d", ports["ADMIN"])}
	var pairs []string
	for port, name := range map[string]string{":8080": "PORT", ":8081": "PORT1", ":8082": "PORT2"} {
		free := fmt.Sprintf(":%d", ports[name])
		pairs = append(pairs, port, free)
		d.open = append(d.open, "localhost"+free)
	}
	d.ports = strings.NewReplacer(append(pairs, "localhost:2019", d.admin)...)
	if err := os.WriteFile(d.file, []byte(d.ports.Replace(read(t, "Caddyfile.example"))), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd != nil {
			d.cmd.Process.Kill()
			d.cmd.Wait()
		}
	})
	return d
}

func (d *demo) start(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command(buildCaddy(t), "run", "--config", d.file)
	d.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+d.dir, "XDG_CONFIG_HOME="+d.dir, "CADDY_ADMIN="+d.admin)
	d.cmd.Stdout, d.cmd.Stderr = &d.logs, &d.logs
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(30 * time.Second)
	for _, address := range d.open {
		for conn, err := net.Dial("tcp", address); ; conn, err = net.Dial("tcp", address) {
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("Caddy doesn't serve: %v", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// stop ends Caddy as Ctrl-C does.
func (d *demo) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("Caddy ended with %v", err)
	}
	d.cmd = nil
}

// searchFor looks for secrets in Caddy's log and files.
func (d *demo) searchFor(t *testing.T, secrets ...string) {
	t.Helper()
	written := map[string][]byte{"the log": d.logs.Bytes()}
	err := filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			written[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	store := written[filepath.Join(d.dir, "caddy", "token_revocation", "records.db")]
	if len(store) == 0 || d.logs.Len() == 0 {
		t.Errorf("the store has %d bytes, the log %d", len(store), d.logs.Len())
	}
	for where, content := range written {
		for _, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s contains %s", where, secret)
			}
		}
	}
}

// shell is a bash that keeps its variables from one command to the next.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

func startShell(t *testing.T) *shell {
	cmd := exec.CommandContext(within(t, time.Minute), "bash", "--noprofile", "--norc")
	cmd.Env = append(os.Environ(), "NO_PROXY=localhost", "no_proxy=localhost")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return &shell{in, bufio.NewReader(out)}
}

// run returns what a command prints, on both outputs.
func (s *shell) run(t *testing.T, command string) string {
	t.Helper()
	const end = "-- end of the command --\n"
	fmt.Fprintf(s.in, "%s\nprintf %%s '%s'\n", command, end)
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if rest, ok := strings.CutSuffix(line, end); ok {
			printed.WriteString(rest)
			return strings.ReplaceAll(printed.String(), "\r\n", "\n")
		}
		printed.WriteString(line)
		if err != nil {
			t.Fatalf("$ %s\n%s%v", command, &printed, err)
		}
	}
}

// Everything that a user can write or see is in the README or its pages.
func TestTheDocsNameEverything(t *testing.T) {
	readme, endpointPage := read(t, "README.md")+read(t, "docs/issuers.md"), read(t, "docs/endpoint.md")
	named := func(what, name string) {
		t.Helper()
		if !strings.Contains(readme, "`"+name+"`") && !strings.Contains(readme, "`"+name+" ") {
			t.Errorf("neither the README nor docs/issuers.md names the %s `%s`", what, name)
		}
	}
	source := goSource(t)

	syntax := strings.Join(fences(readme, ""), "\n")
	lists := regexp.MustCompile(`(?:unrecognized\(d, "|accepted are: )([a-z_]+(?:, [a-z_]+)*)"`).FindAllStringSubmatch(source, -1)
	if len(lists) < 5 {
		t.Errorf("only %d blocks have a list of what they accept", len(lists))
	}
	for _, list := range lists {
		for name := range strings.SplitSeq(list[1], ", ") {
			named("subdirective", name)
			if strings.HasPrefix(list[0], "unrecognized") && !regexp.MustCompile(`(?m)^\s+`+name+`\b`).MatchString(syntax) {
				t.Errorf("the README's syntax lacks %s", name)
			}
		}
	}
	for _, config := range []any{App{}, BoltStore{}, RejectRevoked{}, TokenSource{}, Verify{}, RevocationEndpoint{}, Relay{}, Client{}, Quota{}, Limits{}, Issuer{}, Introspection{}} {
		for field := range fieldsOf(config) {
			named("JSON member", field)
		}
	}
	for _, match := range regexp.MustCompile(`repl\.Set\("([^"]+)"`).FindAllStringSubmatch(source, -1) {
		named("placeholder", "{"+match[1]+"}")
	}
	for verdict := range checkCounters {
		if verdict != verdictActive { // no placeholder has this one
			named("verdict", verdict)
		}
	}
	for _, outcome := range endpoint.Outcomes() {
		if !strings.Contains(endpointPage, "| `"+string(outcome)+"` |") {
			t.Errorf("docs/endpoint.md has no outcome %s", outcome)
		}
	}

	confidential, public := endpoint.DefaultConfidentialQuota, endpoint.DefaultPublicQuota
	for _, text := range []string{
		fmt.Sprintf("`failures_per_minute` | the same | `%d`", endpoint.DefaultFailuresPerMinute),
		fmt.Sprintf("`failures_per_minute_per_address` | the same | `%d`", endpoint.DefaultFailuresPerMinutePerAddress),
		fmt.Sprintf("`live_total` | the same | `%d`", endpoint.DefaultLiveTotal),
		fmt.Sprintf("`live %d`, `per_minute %d`, `per_minute_per_address unlimited`", confidential.Live, confidential.PerMinute),
		fmt.Sprintf("`live %d`, `per_minute %d`, `per_minute_per_address %d`", public.Live, public.PerMinute, public.PerMinutePerAddress),
		fmt.Sprintf("`realm` | `realm` | `%s`", endpoint.DefaultRealm),
		fmt.Sprintf("`max_body` | `max_body`, in bytes | `%dKiB`", endpoint.DefaultMaxBodyBytes>>10),
	} {
		if !strings.Contains(readme, text) {
			t.Errorf("the README has other defaults than: %s", text)
		}
	}
}

// The tests that the README names as proof exist.
func TestTheDocsNameTestsThatExist(t *testing.T) {
	exist := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllSubmatch(content, -1) {
			exist[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(strings.Join(append(docs(t), read(t, "README.md")), "\n"), -1)
	if len(names) < 20 {
		t.Errorf("the docs name only %d tests", len(names))
	}
	for _, name := range names {
		if !exist[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

// Every Caddyfile in the docs can be copied as it stands.
func TestTheCaddyfilesOfTheDocs(t *testing.T) {
	count := 0
	for _, page := range append(docs(t), read(t, "README.md")) {
		for _, caddyfile := range fences(page, "caddyfile") {
			count++
			_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
			if err != nil || len(warnings) > 0 {
				t.Errorf("%v %v in:\n%s", err, warnings, caddyfile)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d Caddyfiles", count)
	}
}

func TestTheJSONExampleIsTheDemo(t *testing.T) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(read(t, "Caddyfile.example")), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal([]byte(read(t, "examples/json/caddy.json")), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(adapted, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("examples/json/caddy.json isn't Caddyfile.example any more, which is:\n%s", adapted)
	}
}

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// docs returns the pages in docs.
func docs(t *testing.T) (pages []string) {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, file := range files {
		pages = append(pages, read(t, strings.TrimPrefix(file, "../")))
	}
	return pages
}

// goSource returns the package's code.
func goSource(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			all.WriteString(read(t, "caddymodule/"+file))
		}
	}
	return all.String()
}

// section returns a section of a page, without its heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no section %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// fences returns the blocks of a page that are in a language.
func fences(page, language string) (blocks []string) {
	for _, match := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		if match[1] == language {
			blocks = append(blocks, match[2])
		}
	}
	return blocks
}

// fieldsOf returns the JSON names of a struct's fields.
func fieldsOf(config any) map[string]bool {
	names := map[string]bool{}
	for _, field := range reflect.VisibleFields(reflect.TypeOf(config)) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names[name] = true
		}
	}
	return names
}
