package hostfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/store"
)

// maxNoted bounds the number of files of a directory in its fingerprint.
const maxNoted = 1000

// fingerprint is a hash of a name and of the file's kind, size, mtime, inode and ctime. That of a directory covers its
// contents two levels down. A change in place of a deeper file leaves the fingerprint as it is; the stamp of the file's
// node shows it.
func fingerprint(name string) (store.Hash, int64, error) {
	p := printer{hash: sha256.New()}
	fi, err := os.Lstat(name)
	if err != nil {
		return store.Hash{}, 0, err
	}
	p.note(name, fi)
	size := fi.Size()
	if fi.IsDir() {
		size = 0
		err = p.directory(name, 2)
	}
	if err != nil {
		return store.Hash{}, 0, err
	}
	return store.Hash(p.hash.Sum(nil)), size, nil
}

type printer struct {
	hash  hash.Hash
	noted int
}

func (p *printer) note(name string, fi fs.FileInfo) {
	st, _ := filestamp.Of(fi)
	fmt.Fprintf(p.hash, "%q %v %d %d %d %d\n", name, fi.Mode(), st.Size, st.Mtime, st.Inode, st.Ctime)
	p.noted++
}

// directory adds the entries of a directory, and those of its directories down to depth.
func (p *printer) directory(name string, depth int) error {
	entries, err := os.ReadDir(name) // sorted
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if p.noted == maxNoted {
			return fmt.Errorf("more than %d files in a directory: %w", maxNoted, errors.ErrUnsupported)
		}
		full := filepath.Join(name, e.Name())
		p.note(full, fi)
		if fi.IsDir() && depth > 1 {
			if err := p.directory(full, depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}
