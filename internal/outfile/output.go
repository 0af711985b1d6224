package outfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
)

// readerPause is how often a pipe is looked at that nobody reads yet.
const readerPause = 50 * time.Millisecond

// IsPipe reports whether a name is that of a pipe, such as a shell's >(command), or of a device.
func IsPipe(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0
}

// Write calls write with the writer that name means: standard output for "-", a pipe, or else a file by [WriteFile]. A pipe
// is waited for until somebody reads it. A write to a pipe ends with ctx.
func Write(ctx context.Context, name string, replace bool, stdout io.Writer, write func(io.Writer) error) error {
	switch {
	case name == "-":
		return write(&endingWriter{ctx, stdout})
	case !IsPipe(name):
		return WriteFile(name, replace, write)
	}
	f, err := openPipe(ctx, name)
	if err != nil {
		return err
	}
	if IsTerminal(f) {
		return errors.Join(fmt.Errorf("%s is a terminal: redirect it, or give a file", name), f.Close())
	}
	return errors.Join(write(&endingWriter{ctx, f}), f.Close())
}

// openPipe opens a pipe or a device, once somebody reads it.
func openPipe(ctx context.Context, name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if !errors.Is(err, syscall.ENXIO) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readerPause):
		}
	}
}

// endingWriter gives a write up when ctx ends: one to a pipe that nobody empties would wait for ever. Such a write may
// still go on, until the process ends; after it there is none.
type endingWriter struct {
	ctx context.Context
	w   io.Writer
}

func (e *endingWriter) Write(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	written := make(chan result, 1)
	go func() {
		n, err := e.w.Write(p)
		written <- result{n, err}
	}()
	select {
	case r := <-written:
		return r.n, r.err
	case <-e.ctx.Done():
		return 0, e.ctx.Err()
	}
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
