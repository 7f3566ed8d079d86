// Package keyfile reads the files with keys and certificates that a configuration names.
package keyfile

import (
	"fmt"
	"io"
	"os"
)

// maxBytes is how long such a file may be.
const maxBytes = 1 << 20

// Read returns a file's content. A file that is longer than 1 MiB is an error: it is
// another one than was meant.
func Read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && len(content) > maxBytes {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxBytes)
	}
	return content, err
}
