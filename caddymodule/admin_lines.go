package caddymodule

// This file reads a body of any length line by line, as long as something arrives.

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// maxLine is how long a line may be.
	maxLine = 64 << 10

	// importStall is how long nothing may arrive.
	importStall = 30 * time.Second
)

// errLineTooLong is the error of one line. Those after it can be read.
var errLineTooLong = errors.New("the line is too long: at most 64 KiB are possible")

// lineReader reads lines that end with LF or CRLF. White space around them, lines
// without anything else, and a byte order mark in the beginning are left out.
type lineReader struct {
	r      *bufio.Reader
	number int // of the line that was read last
}

// newLineReader reads lines of up to so many bytes, at least 16.
func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, most+len("\r\n"))}
}

// next returns the next line, which is the caller's until the next call, or io.EOF.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.r.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			return nil, io.EOF
		}
		l.number++
		switch {
		case err == bufio.ErrBufferFull:
			if err := l.skip(); err != nil {
				return nil, err
			}
			return nil, errLineTooLong
		case err != nil && err != io.EOF:
			return nil, err
		}
		if l.number == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// skip reads to the end of a line.
func (l *lineReader) skip() error {
	for {
		_, err := l.r.ReadSlice('\n')
		switch err {
		case bufio.ErrBufferFull:
		case io.EOF:
			return nil // the next call says so
		default:
			return err
		}
	}
}

// arrivingBody is a body that may take as long as it likes, as long as something
// arrives. Caddy's admin API would give it ten seconds.
type arrivingBody struct {
	body    io.Reader
	control *http.ResponseController
}

// Read implements io.Reader.
func (b arrivingBody) Read(p []byte) (int, error) {
	// A writer that can't has no bound.
	_ = b.control.SetReadDeadline(time.Now().Add(importStall))
	n, err := b.body.Read(p)
	if err != nil {
		// What follows is not the client's time.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
