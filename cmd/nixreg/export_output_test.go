package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
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
		if status, stderr := exporting(t, "hello", "docker-archive:"+to); status != 0 || stderr != "" {
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

func TestExportToWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	for to, want := range map[string]string{dir: "no regular file", filepath.Join(dir, "absent", "x"): "no such file"} {
		if status, stderr := exporting(t, "hello", "docker-archive:"+to); status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d: %s", to, status, stderr)
		}
	}
	if status, stderr := exporting(t, "hello", "docker-archive:"+os.DevNull); status != 0 || stderr != "" {
		t.Errorf("%s: status %d: %s", os.DevNull, status, stderr)
	}
}
