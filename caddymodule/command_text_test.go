package caddymodule

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// inUTC has times written in UTC until the test ends.
func inUTC(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
}

// wantPrinted compares what is printed, line by line.
func wantPrinted(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got == want {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Errorf("line %d is\n%q, want\n%q", i+1, gotLines[i], wantLines[i])
		}
	}
	t.Errorf("printed:\n%s\nwant:\n%s", got, want)
}

var (
	noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

	aliceOut = revocationJSON{
		ID: "0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6", State: stateLive, Source: "admin", Actor: "cli:eve@laptop", Reason: "lost phone",
		RecordedAt: noon.Add(-2 * time.Hour),
		Records: []recordJSON{{
			Kind: "issued_before", Selector: map[string]string{"iss": "https://idp.example.com", "sub": "alice"},
			Cutoff: noon.Add(-2 * time.Hour), Expires: noon.Add(30 * 24 * time.Hour),
		}},
	}
	oneToken = revocationJSON{
		ID: "0199e2a4-0000-7d3e-8f90-a1b2c3d4e5f6", State: stateReinstated, Source: "endpoint", Actor: "app",
		RecordedAt: noon.Add(-26 * time.Hour),
		Records: []recordJSON{
			{Kind: "block", Selector: map[string]string{"token": "y1oEmzfnxBm3SB00ccM8ddqGRVjy_9R_aIXeZ1J7ZI4"}, Expires: noon.Add(time.Hour)},
			{Kind: "block", Selector: map[string]string{"iss": "https://idp.example.com", "jti": "t-1"}, Expires: revocation.Never},
		},
		Reinstated: &reinstatedJSON{ID: "0199e2a4-1111-7d3e-8f90-a1b2c3d4e5f6", Source: "admin", Actor: "cli:eve@laptop", Reason: "a test\x1b[2J", RecordedAt: noon.Add(-time.Minute)},
	}
)

func TestTablesOfRevocations(t *testing.T) {
	inUTC(t)
	var out strings.Builder
	if err := revocationsTable(&out, []revocationJSON{aliceOut}, noon); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, out.String(), `
RECORDED              ID                                    WHAT                                 KIND                                   EXPIRES  BY              WHY
2026-01-31 10:00 UTC  0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6  sub=alice @ https://idp.example.com  issued before 2026-01-31 10:00:00 UTC  in 30 d  cli:eve@laptop  lost phone
`)
	out.Reset()
	if err := revocationsTable(&out, []revocationJSON{aliceOut, oneToken}, noon); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, out.String(), `
RECORDED              ID                                    STATE       WHAT                                 KIND                                   EXPIRES  BY              WHY
2026-01-31 10:00 UTC  0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6  live        sub=alice @ https://idp.example.com  issued before 2026-01-31 10:00:00 UTC  in 30 d  cli:eve@laptop  lost phone
2026-01-30 10:00 UTC  0199e2a4-0000-7d3e-8f90-a1b2c3d4e5f6  reinstated  token=y1oEmzfnxBm3…                  block                                  in 1 h   app
                                                                        jti=t-1 @ https://idp.example.com    block                                  never
`)
}

func TestARevocationInFull(t *testing.T) {
	inUTC(t)
	var out strings.Builder
	if err := oneToken.describe(&out, noon); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, out.String(), `
Revocation      0199e2a4-0000-7d3e-8f90-a1b2c3d4e5f6
State           reinstated: it was taken back and rejects nothing
Recorded        2026-01-30 10:00:00 UTC (1 d ago)
By              app
Came by         endpoint
Why
Taken back      2026-01-31 11:59:00 UTC (1 min ago)
  by            cli:eve@laptop
  why           a test�[2J
  under the id  0199e2a4-1111-7d3e-8f90-a1b2c3d4e5f6

Its records:
  KIND   WHAT                                               EXPIRES
  block  token=y1oEmzfnxBm3SB00ccM8ddqGRVjy_9R_aIXeZ1J7ZI4  2026-01-31 13:00:00 UTC (in 1 h)
  block  jti=t-1 @ https://idp.example.com                  never
`)
}

func TestTheAnswerToARevocation(t *testing.T) {
	inUTC(t)
	for name, test := range map[string]struct {
		answer revokeResponse
		want   string
	}{
		"revoked": {revokeResponse{outcomeRevoked, &aliceOut, false, nil}, `
Revoked: 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6
  KIND                                   WHAT                                 EXPIRES
  issued before 2026-01-31 10:00:00 UTC  sub=alice @ https://idp.example.com  2026-03-02 12:00:00 UTC (in 30 d)
To take it back: caddy tokens reinstate 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6 --reason "…"
`},
		"awaited": {revokeResponse{outcomeRevoked, &aliceOut, true, nil}, `
Revoked: 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6
  KIND                                   WHAT                                 EXPIRES
  issued before 2026-01-31 10:00:00 UTC  sub=alice @ https://idp.example.com  2026-03-02 12:00:00 UTC (in 30 d)
No node accepts what it hits any more.
To take it back: caddy tokens reinstate 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6 --reason "…"
`},
		"would revoke": {revokeResponse{outcomeWouldRevoke, &aliceOut, false, []string{"it hits a lot"}}, `
This would be recorded:
  KIND                                   WHAT                                 EXPIRES
  issued before 2026-01-31 10:00:00 UTC  sub=alice @ https://idp.example.com  2026-03-02 12:00:00 UTC (in 30 d)
Warning: it hits a lot
`},
		"expired": {revokeResponse{Outcome: outcomeExpired}, `
Nothing was recorded: the token has expired, and nobody accepts it any more.
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := test.answer.describe(&out, noon); err != nil {
				t.Fatal(err)
			}
			wantPrinted(t, out.String(), test.want)
		})
	}
}

func TestWhatACheckSays(t *testing.T) {
	inUTC(t)
	answer := checkResponse{
		Verdict: "revoked", Reason: "A cutoff for sub hits it.", Fingerprint: "y1oEmzfnxBm3SB00ccM8ddqGRVjy_9R_aIXeZ1J7ZI4", JWT: true,
		Issuers: []string{"https://idp.example.com"}, Claims: map[string][]string{"sub": {"alice"}, "jti": {"t-1"}},
		IssuedAt: noon.Add(-3 * time.Hour), Expires: noon.Add(time.Hour), Unproven: "no issuer is configured",
		Records: []matchedRecordJSON{{
			Record: recordedJSON{ID: aliceOut.ID, recordJSON: aliceOut.Records[0], Source: "admin", Actor: "cli:eve@laptop", Reason: "lost phone", RecordedAt: aliceOut.RecordedAt},
			Why:    "the token was issued at 2026-01-31T09:00:00Z, not after the cutoff", Rejects: true,
		}},
		Matches: []selectableJSON{
			{"token", map[string]string{"token": "y1oEmzfnxBm3SB00ccM8ddqGRVjy_9R_aIXeZ1J7ZI4"}},
			{"client_id+sub", map[string]string{"iss": "https://idp.example.com", "sub": "alice o'hara", "client_id": "app"}},
			{"tenant", map[string]string{"iss": "https://idp.example.com", "tenant": "acme"}},
			{"$(reboot)", map[string]string{"iss": "https://idp.example.com", "$(reboot)": "acme"}},
		},
		Impossible: []impossibleJSON{{"sid", "the token has no sid"}, {"tenant+sub", "the token has no tenant"}},
		Warnings:   []string{"the token has no exp"},
	}
	var out strings.Builder
	if err := answer.describe(&out, noon); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, out.String(), `
REVOKED. A cutoff for sub hits it.
Warning: the token has no exp

Records that name it:
  0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6, recorded 2026-01-31 10:00:00 UTC (2 h ago) by cli:eve@laptop: lost phone
    rejected: issued before 2026-01-31 10:00:00 UTC sub=alice @ https://idp.example.com
      the token was issued at 2026-01-31T09:00:00Z, not after the cutoff; expires 2026-03-02 12:00:00 UTC (in 30 d)

The token:
  Form         JWT
  Fingerprint  y1oEmzfnxBm3SB00ccM8ddqGRVjy_9R_aIXeZ1J7ZI4
  Issuer       https://idp.example.com
  jti          t-1
  sub          alice
  Issued       2026-01-31 09:00:00 UTC (3 h ago)
  Expires      2026-01-31 13:00:00 UTC (in 1 h)
  Genuine      not proven: no issuer is configured

Flags of revoke that name it:
  --fingerprint y1oEmzfnxBm3SB00ccM8ddqGRVjy_9R_aIXeZ1J7ZI4
  --client app --subject 'alice o'\''hara' --issuer https://idp.example.com
  --claim tenant=acme --issuer https://idp.example.com
  --claim '$(reboot)=acme' --issuer https://idp.example.com

Flags that can't name it:
  --session                 the token has no sid
  --claim tenant --subject  the token has no tenant
`)
}

func TestTheStatusSaysWhatIsWrongFirst(t *testing.T) {
	inUTC(t)
	s := statusResponse{
		Version: "v1.2.3",
		List: listStatus{
			Since: noon.Add(-time.Minute), Cause: "the clock stepped back", Keys: 1234567, Shapes: 2, MaxShapes: 32, IndexBytes: 64 << 20, Pending: 3,
			Records: []recordsCount{{"block", "token", 1234566}, {"issued_before", "sub", 1}},
		},
		Store:     storeStatus{Module: "bolt", Key: "bolt:/data/records.db", Failing: true, Since: noon.Add(-time.Hour), Error: "the disk is full"},
		Cache:     cacheStatus{Size: 64 << 20, Hits: 3, Misses: 1},
		Streams:   map[string]int{"websocket": 2, "event_stream": 0, "other": 1},
		Issuers:   []issuerStatusJSON{{Issuer: "https://idp.example.com", Error: "connection refused"}, {Issuer: "https://two.example.com", Ready: true, Keys: 2, KeysFrom: noon.Add(-5 * time.Minute)}},
		Retention: retentionStatus{"720h0m0s", "5m0s"},
	}
	var out strings.Builder
	if err := s.describe(&out, noon); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, out.String(), `
WRONG: the store takes nothing since 2026-01-31 11:00:00 UTC (1 h ago): the disk is full
WRONG: the list may lack something since 2026-01-31 11:59:00 UTC (1 min ago): the clock stepped back
WRONG: 3 records are in force but not durable: they are lost if Caddy ends now
WRONG: the issuer https://idp.example.com isn't ready: connection refused

Store         bolt: /data/records.db
In force      1,234,567 records, 64 MiB of memory
Named by      2 of 32 possible combinations of claims
Kept          until tokens have expired, and 5m longer; 30 d where that isn't known
Cache         64 MiB at most, 75% of 4 look-ups found their token in it
Open streams  1 other, 2 websocket
Version       v1.2.3

KIND           NAMED BY  RECORDS
block          token     1,234,566
issued_before  sub       1

ISSUER                   READY  KEYS  FETCHED
https://idp.example.com  no     0     -
https://two.example.com  yes    2     2026-01-31 11:55:00 UTC (5 min ago)
`)
}

func TestTheSummaryOfAnImport(t *testing.T) {
	a := importResponse{Lines: 1500, Accepted: 1000, Merged: 200, Expired: 298, Refused: 2, Errors: []importError{{7, "it is not JSON, from byte 3 on"}}}
	var out strings.Builder
	if err := a.describe(&out); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, out.String(), `
LINES  ACCEPTED  MERGED  EXPIRED  REFUSED
1,500  1,000     200     298      2

Refused:
  line 7: it is not JSON, from byte 3 on
  and 1 more
`)
}

func TestDurationsOfTheAPI(t *testing.T) {
	for text, want := range map[string]string{"720h0m0s": "30 d", "5m0s": "5m", "1h0m0s": "1h", "90m0s": "1h30m", "30s": "30s", "36h0m0s": "36h", "10m30s": "10m30s", "never": "never"} {
		if got := readable(text); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestMomentsThatPeopleWrite(t *testing.T) {
	for text, want := range map[string]string{
		"now":                       "now",
		"2h":                        "2026-01-31T10:00:00Z",
		"1d12h":                     "2026-01-30T00:00:00Z",
		"2026-01-31T12:00:00+02:00": "2026-01-31T10:00:00Z",
	} {
		if got, err := momentFrom("since", text, noon); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-2h", "0s", "yesterday", "2026-01-31", "5"} {
		if got, err := momentFrom("since", text, noon); err == nil || !strings.Contains(err.Error(), "--since") {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
}

func TestRelativeTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                    "now",
		500 * time.Millisecond:               "now",
		59 * time.Second:                     "in 59 s",
		-90 * time.Second:                    "1 min ago",
		4*time.Hour + 59*time.Minute:         "in 4 h",
		-25 * time.Hour:                      "1 d ago",
		400 * 24 * time.Hour:                 "in 400 d",
		3*365*24*time.Hour + 40*24*time.Hour: "in 3 years",
	} {
		if got := relative(noon.Add(d), noon); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

// docs/cli.md names every command and every flag, and each command has a help with an
// example.
func TestTheDocsNameEveryCommandAndFlag(t *testing.T) {
	page := read(t, "docs/cli.md")
	tokens := &cobra.Command{Use: "caddy tokens"}
	tokensCommand(tokens)
	if n := len(tokens.Commands()); n != 10 {
		t.Errorf("there are %d commands", n)
	}
	for _, cmd := range tokens.Commands() {
		if !strings.Contains(page, "| `caddy tokens "+cmd.Name()) {
			t.Errorf("the page lacks %s", cmd.Name())
		}
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" && cmd.Name() != "secret" && cmd.Name() != "schema" {
			t.Errorf("the help of %s lacks something", cmd.Name())
		}
		for _, flag := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
			if !regexp.MustCompile(`[` + "`" + ` ]` + flag[1] + `\b`).MatchString(page) {
				t.Errorf("the page lacks %s %s", cmd.Name(), flag[1])
			}
		}
	}
}

// TestWhatTheAPISaysMovesNoCursor: reasons and names are others'.
func TestWhatTheAPISaysMovesNoCursor(t *testing.T) {
	hostile := "a\x1b[2J\u009b31m\x7f\u202e\U000e0001é"
	body, err := json.Marshal(errorResponse{Error: hostile})
	if err != nil {
		t.Fatal(err)
	}
	said := explainFailure("localhost:2019", errors.New("caddy responded with error: HTTP 409: "+string(body)))
	if want := "a\uFFFD[2J\uFFFD31m\uFFFD\uFFFD\uFFFDé"; said.Error() != want {
		t.Errorf("says %q, want %q", said, want)
	}
	var out strings.Builder
	if err := printJSON(&out, body); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(strings.TrimSpace(out.String()), func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("prints %q", &out)
	}
	var again errorResponse
	if err := json.Unmarshal([]byte(out.String()), &again); err != nil || again.Error != hostile {
		t.Errorf("is %q, %v", again.Error, err)
	}
}
