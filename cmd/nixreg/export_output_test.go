package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/manifest/export"
)

// An archive can go into a pipe that has a name, as it does in a shell's >(command).
func TestExportIntoAPipe(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		b   []byte
		err error
	}
	read := make(chan result, 1)
	go func() {
		b, err := os.ReadFile(pipe)
		read <- result{b, err}
	}()
	for _, to := range []string{pipe, file} {
		if status, stderr := runExport(t, "hello", "docker-archive:"+to); status != 0 || stderr != "" {
			t.Fatalf("%s: status %d: %s", to, status, stderr)
		}
	}
	r := <-read
	want, err := os.ReadFile(file)
	if err != nil || r.err != nil || len(want) == 0 || !bytes.Equal(r.b, want) {
		t.Errorf("%d bytes come out of the pipe, %v; in the file there are %d, %v", len(r.b), r.err, len(want), err)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("the pipe is %v, %v", info, err)
	}
}

// begun tells that somebody writes.
type begun struct {
	io.Writer
	f func()
}

func (b begun) Write(p []byte) (int, error) {
	b.f()
	return b.Writer.Write(p)
}

// Neither a pipe that nobody reads nor one that nobody empties keeps an export from ending.
func TestExportIntoAPipeIsInterrupted(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	o := &exportOptions{to: export.Destination{Transport: export.DockerArchive, Path: pipe}}
	if err := o.output(ended, nil, func(io.Writer) error { t.Error("written"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody reads: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	o.to.Path = "-"
	err = o.output(ctx, begun{w, cancel}, func(to io.Writer) error {
		_, err := to.Write(make([]byte, 1<<20)) // more than a pipe holds
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("nobody empties it: %v", err)
	}
}

func TestExportToWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	for to, want := range map[string]string{dir: "no regular file", filepath.Join(dir, "absent", "x"): "no such file"} {
		if status, stderr := runExport(t, "hello", "docker-archive:"+to); status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d: %s", to, status, stderr)
		}
	}
	if status, stderr := runExport(t, "hello", "docker-archive:"+os.DevNull); status != 0 || stderr != "" {
		t.Errorf("%s: status %d: %s", os.DevNull, status, stderr)
	}
}
