package caddymodule

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What is shared by configurations logs to the one that is in use, also after one that
// failed: the log of any other is closed.
func TestWhatIsSharedLogsToTheConfigurationInUse(t *testing.T) {
	var out [3]bytes.Buffer
	var logs [3]*slog.Logger
	for i := range out {
		logs[i] = slog.New(slog.NewTextHandler(&out[i], nil))
	}
	l := newCurrentLog(logs[0])
	logger := l.logger().With("a", 1).WithGroup("g").With("b", 2)
	wantLine := func(want int) {
		t.Helper()
		logger.Info("message")
		for i := range out {
			text := out[i].String()
			if (i == want) != strings.Contains(text, "message a=1 g.b=2\n") && (i == want || text != "") {
				t.Errorf("log %d: %q, want the line in %d", i, text, want)
			}
			out[i].Reset()
		}
		if logger.Enabled(t.Context(), slog.LevelDebug) {
			t.Error("debug is enabled")
		}
	}
	wantLine(0)
	l.use(logs[0])
	l.use(logs[1]) // a reload
	wantLine(1)
	l.leave(logs[0])
	wantLine(1)
	l.use(logs[2]) // one that fails
	wantLine(2)
	l.leave(logs[2])
	wantLine(1)
	l.leave(logs[1]) // the end
	wantLine(1)
}
