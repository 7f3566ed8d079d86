package placeholder

import (
	"fmt"
	"io"
	"os"
)

// maxBytes is how long a file with keys or certificates may be.
const maxBytes = 1 << 20

// readFile returns a file's content. A file that is longer than 1 MiB is an error: it is
// another one than was meant.
func readFile(path string) ([]byte, error) {
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
