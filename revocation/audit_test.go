package revocation

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"testing"
	"time"
)

func TestAuditEntry(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 31, hour, 0, 0, 0, time.FixedZone("", 3600)) }
	subject, err := Select("https://idp.example.com", Claim{RoleSubject, "alice"})
	if err != nil {
		t.Fatal(err)
	}
	id := NewID()
	for _, c := range []struct {
		name  string
		entry AuditEntry
		want  map[string]any
	}{
		{"what is empty is left out", AuditEntry{Event: AuditRefused}, map[string]any{"level": "WARN", "event": "refused"}},
		{"everything", AuditEntry{
			Event: AuditFailed, Outcome: "o", Note: Note{"s", "a", "r"}, Revocation: id, Fingerprint: "f", ClientID: "c", ClaimedClientID: "cc",
			Address: "ad", Status: 503, Detail: "d", Unproven: "u", Hint: "h", Error: "e", LeftOut: 7,
		}, map[string]any{
			"level": "ERROR", "event": "failed", "outcome": "o", "source": "s", "actor": "a", "reason": "r", "revocation_id": id.String(),
			"fingerprint": "f", "client_id": "c", "claimed_client_id": "cc", "address": "ad", "status": 503.0, "detail": "d",
			"unproven": "u", "hint": "h", "error": "e", "left_out": 7.0,
		}},
		{"records say the rest", AuditEntry{Event: AuditRevoked, Records: []Record{
			{ID: id, Kind: Block, Selector: SelectToken(Fingerprint{}), Expires: at(14), Source: "endpoint", Actor: "client:app", Reason: "why"},
			{ID: id, Kind: IssuedBefore, Selector: subject, Cutoff: at(12), Expires: at(13)},
		}}, map[string]any{
			"level": "INFO", "event": "revoked", "source": "endpoint", "actor": "client:app", "reason": "why", "revocation_id": id.String(),
			"selectors": map[string]any{
				"token": map[string]any{"token": Fingerprint{}.String()},
				"sub":   map[string]any{"iss": "https://idp.example.com", "sub": "alice"},
			},
			"cutoff": "2026-01-31T11:00:00Z", "expires": "2026-01-31T13:00:00Z",
		}},
		{"a reinstatement", AuditEntry{Event: AuditReinstated, Records: []Record{
			{ID: id, Kind: Reinstatement, Reinstates: []ID{{1}, {2}}, Expires: at(13), Source: "admin", Actor: "bob", Reason: "a mistake"},
		}}, map[string]any{
			"level": "INFO", "event": "reinstated", "source": "admin", "actor": "bob", "reason": "a mistake", "revocation_id": id.String(),
			"reinstates": []any{ID{1}.String(), ID{2}.String()}, "expires": "2026-01-31T12:00:00Z",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			c.entry.Log(t.Context(), slog.New(slog.NewJSONHandler(&out, nil)))
			var got map[string]any
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			delete(got, slog.TimeKey)
			c.want["msg"] = auditMessage
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("the line is\n%v, want\n%v", got, c.want)
			}
		})
	}
}

func TestAuditEntryOfALevelThatIsOffIsNotWritten(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, event := range []AuditEvent{AuditRevoked, AuditUnchanged, AuditReinstated, AuditImported} {
		(&AuditEntry{Event: event}).Log(t.Context(), logger)
	}
	if out.Len() > 0 {
		t.Errorf("written: %s", &out)
	}
}
