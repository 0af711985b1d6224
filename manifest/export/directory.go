package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	tempName   = ".nixreg-layout-" // prefix of incomplete files
	claimPause = 20 * time.Millisecond
	maxFile    = 8 << 20 // bytes of index.json and oci-layout
)

// layout is an OCI layout that is being written.
type layout struct {
	dir        string
	claimed    *os.File // the locked directory; nil before claim
	repository Repository
	meter      *meter
	seen       map[v1.Hash]bool
	made       []string // new files and directories, parents first
}

// claim makes the directory if it is absent, waits until no other export writes to it, and locks it. The lock lasts until
// the returned file is closed or the process ends. On a file system without locks, claim does not wait.
func (l *layout) claim(ctx context.Context) (*os.File, error) {
	for {
		f, err := l.tryClaim()
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-ctx.Done():
			l.made = nil // the other export removes it
			return nil, ctx.Err()
		case <-time.After(claimPause):
		}
	}
}

// tryClaim returns nil if another export holds the directory, or has just removed it.
func (l *layout) tryClaim() (*os.File, error) {
	if err := l.mkdir(""); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.dir, os.O_RDONLY|syscall.O_DIRECTORY, 0) // O_DIRECTORY: opening a FIFO would block
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Lstat(l.dir); errors.Is(e, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) || !isAt(f, l.dir) {
		return nil, f.Close()
	}
	return f, nil
}

// isAt reports whether name still names the open directory.
func isAt(f *os.File, name string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

// sweep removes the incomplete files of killed exports, and returns the other entries.
func (l *layout) sweep() (others []fs.DirEntry, err error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempName) || !e.Type().IsRegular() {
			others = append(others, e)
			continue
		}
		if err := os.Remove(filepath.Join(l.dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// write makes or replaces a file. The file gets its name when it is complete and on the disk.
func (l *layout) write(name string, write func(io.Writer) error) (err error) {
	temp := filepath.Join(l.dir, tempName+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // the umask of the user applies
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	name = filepath.Join(l.dir, name)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		l.made = append(l.made, name)
	}
	return os.Rename(temp, name)
}

// mkdir makes a directory unless it exists.
func (l *layout) mkdir(name string) error {
	name = filepath.Join(l.dir, name)
	switch err := os.Mkdir(name, 0o777); {
	case err == nil:
		l.made = append(l.made, name)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return nil
}

// release unlocks the directory.
func (l *layout) release() error {
	if l.claimed == nil {
		return nil
	}
	return l.claimed.Close()
}

// undo removes the new files and directories. A directory that is not empty stays.
func (l *layout) undo() error {
	var errs []error
	for _, name := range slices.Backward(l.made) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// readFile returns a file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes: %w", name, maxFile, fs.ErrInvalid)
	}
	return b, err
}
