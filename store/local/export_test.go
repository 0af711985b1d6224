package local

import (
	"io/fs"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// Ctime is for tests that have to wait until the kernel's clock has ticked.
func Ctime(fi fs.FileInfo) int64 {
	s, _ := filestamp.Of(fi)
	return s.Ctime
}
