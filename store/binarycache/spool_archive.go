package binarycache

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

// archive is a verified NAR, open. Its file may have lost its name.
type archive struct {
	spool  *Spool
	file   *spoolFile
	fd     *os.File
	state  filestamp.Stamp // as verified
	index  *nar.Index
	memory int64 // of the index, in bytes

	uses int           // guarded by Spool.mu
	idle *list.Element // in Spool.idle; nil while in use
}

// changed says how the file differs from what was verified; "" if it does not. One that was deleted keeps its bytes as long
// as it is open, but the deletion moves its ctime; named asks that it has its name still.
func (a *archive) changed(named bool) string {
	if named {
		fi, err := a.fd.Stat()
		if err != nil {
			return err.Error()
		}
		if _, names := filestamp.Of(fi); names == 0 {
			return "it was deleted or replaced"
		}
	}
	return a.state.Changed(a.fd)
}

// check returns an error matching store.ErrChanged, and has the archive fetched again, if it is not what was verified.
func (a *archive) check() error {
	how := a.changed(false)
	if how == "" {
		return nil
	}
	s := a.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.file.open == a {
		s.spoiled(a.file, how)
	}
	return fmt.Errorf("spooled archive: %s: %w", how, store.ErrChanged)
}

// reopen opens the file of f, from the spool. If this process has not verified it, it is read and hashed.
func (s *Spool) reopen(f *narFlight, verified filestamp.Stamp) (*archive, error) {
	name := s.file(f.key)
	if verified == (filestamp.Stamp{}) {
		filestamp.Backdate(name)
	}
	fd, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	a := &archive{spool: s, file: f.file, fd: fd}
	if err := a.inspect(s.ctx, f, verified); err != nil {
		fd.Close()
		return nil, err
	}
	return a, nil
}

// inspect makes the index of a, and verifies the archive if it is not in the state verified.
func (a *archive) inspect(ctx context.Context, f *narFlight, verified filestamp.Stamp) error {
	fi, err := a.fd.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() != f.want.size {
		return corrupt("%v of %d bytes, not a file of %d", fi.Mode().Type(), fi.Size(), f.want.size)
	}
	a.state, _ = filestamp.Of(fi)
	if a.state == verified {
		err = a.readIndex(ctx, f)
	} else {
		err = a.verify(ctx, f)
	}
	if err == nil {
		if how := a.changed(true); how != "" {
			err = corrupt("while it was read: %s", how)
		}
	}
	return err
}

// verify reads the archive once, for its hash and its index.
func (a *archive) verify(ctx context.Context, f *narFlight) error {
	h := sha256.New()
	r := io.TeeReader(contextReader{ctx, io.NewSectionReader(a.fd, 0, a.state.Size)}, h)
	err := a.setIndex(r)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // what the parser left
		return err
	}
	if got := store.Hash(h.Sum(nil)); got != f.key.hash {
		return corrupt("hash is %s", got)
	}
	if err != nil {
		return malformedError{fmt.Errorf("%s: %w", f.want.id.path, err)}
	}
	return nil
}

// readIndex reads what is known to be the right archive.
func (a *archive) readIndex(ctx context.Context, f *narFlight) error {
	err := a.setIndex(contextFile{ctx, io.NewSectionReader(a.fd, 0, f.want.size)})
	if errors.Is(err, ErrCorrupt) {
		return malformedError{fmt.Errorf("%s: %w", f.want.id.path, err)}
	}
	return err
}

func (a *archive) setIndex(r io.Reader) (err error) {
	a.index, err = nar.ReadIndex(r)
	a.memory = a.index.Memory()
	return err
}

// contextFile is a contextReader that can seek.
type contextFile struct {
	ctx context.Context
	io.ReadSeeker
}

func (c contextFile) Read(b []byte) (int, error) { return contextReader{c.ctx, c.ReadSeeker}.Read(b) }
