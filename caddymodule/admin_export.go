package caddymodule

// This file writes all records that are in force, one line of JSON each.

import (
	"bufio"
	"net/http"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	ndjson = "application/x-ndjson"

	// exportStall is how long a client may take for a part of the export. One that has
	// stopped reading must not keep the store busy for good.
	exportStall = time.Minute

	exportBuffer = 64 << 10
)

// export serves GET export. When something fails midway, the answer breaks off, so that
// nobody takes a part for the whole.
func (c *adminCall) export() error {
	c.takeTime()
	out := &exportWriter{w: c.w, control: http.NewResponseController(c.w)}
	defer out.end()
	lines := bufio.NewWriterSize(out, exportBuffer)
	err := c.run.list.Records(c.r.Context(), func(r *revocation.Record) error {
		line, err := r.MarshalJSON()
		if err != nil {
			return err
		}
		lines.Write(line)
		return lines.WriteByte('\n')
	})
	if err != nil {
		if !out.begun {
			return err
		}
		panic(http.ErrAbortHandler)
	}
	if lines.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
	out.begin() // also where there are no records
	return nil
}

// exportWriter writes to a client that has to go on reading.
type exportWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (e *exportWriter) begin() {
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", ndjson)
		e.w.WriteHeader(http.StatusOK)
	}
}

// Write implements io.Writer.
func (e *exportWriter) Write(b []byte) (int, error) {
	e.begin()
	// A writer that can't is waited for.
	_ = e.control.SetWriteDeadline(time.Now().Add(exportStall))
	return e.w.Write(b)
}

// end takes the bound away, which would count for the connection's next answer.
func (e *exportWriter) end() { _ = e.control.SetWriteDeadline(time.Time{}) }
