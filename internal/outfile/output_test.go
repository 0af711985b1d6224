package outfile

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// begun tells that somebody writes.
type begun struct {
	io.Writer
	f func()
}

func (b begun) Write(p []byte) (int, error) {
	b.f()
	return b.Writer.Write(p)
}

// Neither a pipe that nobody reads nor one that nobody empties keeps a write from ending.
func TestWriteIntoAPipeIsInterrupted(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ended, pipe, false, nil, func(io.Writer) error { t.Error("written"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody reads: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err = Write(ctx, "-", false, begun{w, cancel}, func(to io.Writer) error {
		_, err := to.Write(make([]byte, 1<<20)) // more than a pipe holds
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("nobody empties it: %v", err)
	}
}

func TestIsTerminal(t *testing.T) {
	for name, want := range map[string]bool{"/dev/ptmx": true, "/dev/null": false} {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			if os.Getenv("NIXREG_E2E") == "1" {
				t.Fatal(err)
			}
			t.Skip(err) // a container may have none
		}
		if got := IsTerminal(f); got != want {
			t.Errorf("%s is a terminal: %v", name, got)
		}
		f.Close()
	}
	if IsTerminal(new(strings.Builder)) {
		t.Error("memory is a terminal")
	}
}
