package binarycache

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

// create fetches the archive of f. What is not brought to its end leaves nothing.
func (s *Spool) create(f *narFlight) (_ *archive, err error) {
	fd, err := os.CreateTemp(s.dir, tempPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	name := fd.Name()
	defer func() {
		if err != nil {
			fd.Close()
			os.Remove(name)
		}
	}()
	out := &spoolWriter{spool: s, want: &f.want, fd: fd}
	flight.Progress(f.job.Context(), out.progress)
	w := bufio.NewWriterSize(out, 256<<10)
	if err := f.want.fill(f.job.Context(), w); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if size := out.size.Load(); size != f.want.size {
		return nil, fmt.Errorf("%s: %w", f.want.id.path, corrupt("archive has %d bytes, not %d", size, f.want.size))
	}
	a := &archive{spool: s, fd: fd, file: &spoolFile{key: f.key, size: f.want.size}}
	if err := a.readIndex(s.ctx, f); err != nil {
		return nil, err
	}
	return a, a.publish(name)
}

// publish gives the file its name, which tells the next process that it is whole.
func (a *archive) publish(temp string) error {
	name := a.spool.file(a.file.key)
	if err := os.Rename(temp, name); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	filestamp.Backdate(name) // is the time of last use for the next process, too; from here on to touch the file is a change
	fi, err := a.fd.Stat()
	if err != nil {
		os.Remove(name)
		return fmt.Errorf("spool: %w", err)
	}
	a.state, _ = filestamp.Of(fi)
	if a.state.Size != a.file.size {
		os.Remove(name)
		return fmt.Errorf("spool: %s: somebody else wrote to it: %w", name, store.ErrChanged)
	}
	a.file.state = a.state
	a.file.used, a.file.saved = a.state.Mtime, a.state.Mtime
	return nil
}

// spoolWriter writes an archive to its file, and makes room once if the disk is full.
type spoolWriter struct {
	spool *Spool
	want  *wanted
	fd    *os.File
	size  atomic.Int64 // written; one goroutine writes
	freed bool
}

// progress is for people who wait.
func (w *spoolWriter) progress() string {
	const mb = 1e6
	return fmt.Sprintf("%.1f of %.1f MB of %s are fetched", float64(w.size.Load())/mb, float64(w.want.size)/mb, w.want.id.path.Name())
}

func (w *spoolWriter) Write(b []byte) (int, error) {
	if w.size.Load()+int64(len(b)) > w.want.size {
		return 0, fmt.Errorf("%s: %w", w.want.id.path, corrupt("archive is larger than %d bytes", w.want.size))
	}
	n, err := w.spool.write(w.fd, b)
	if isFull(err) && !w.freed && w.spool.makeRoom(w.want.size) {
		w.freed = true
		var more int
		more, err = w.spool.write(w.fd, b[n:])
		n += more
	}
	w.size.Add(int64(n))
	w.spool.fetched.Add(int64(n))
	if isFull(err) {
		return n, fmt.Errorf("spool: %s: archive of %s needs %d bytes, the disk is full after %d: %w",
			w.spool.dir, w.want.id.path, w.want.size, w.size.Load(), err)
	}
	if err != nil {
		return n, fmt.Errorf("spool: %w", err)
	}
	return n, nil
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
