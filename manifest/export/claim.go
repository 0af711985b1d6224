package export

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	tempName   = ".nixreg-layout-" // and something random: a file that is not complete
	claimPause = 20 * time.Millisecond
)

// claim makes the directory if need be, and waits until no other export writes to it: then it returns the directory,
// which is claimed until it is closed, or the process ends. On a file system without locks nobody waits.
func (l *layout) claim(ctx context.Context) (*os.File, error) {
	for {
		f, err := l.tryClaim()
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-ctx.Done():
			l.made = nil // it is for the other one to remove
			return nil, ctx.Err()
		case <-time.After(claimPause):
		}
	}
}

// tryClaim returns nothing if another has the directory, or has just removed it.
func (l *layout) tryClaim() (*os.File, error) {
	if err := l.mkdir(""); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.dir, os.O_RDONLY|syscall.O_DIRECTORY, 0) // a FIFO would wait for a writer
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

// isAt reports whether an open directory is still the one of that name.
func isAt(f *os.File, name string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

// sweep removes what an export that was killed has left, and returns what else there is.
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
