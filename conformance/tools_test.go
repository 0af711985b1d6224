package conformance_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program is a client's program, with what it is given each time.
type program struct {
	path string
	args []string // before those of a command
	env  []string
}

// run runs a command in dir and returns what it prints. The error has what the program says about its failure.
func (p program) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.path, slices.Concat(p.args, args)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), p.env...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(p.path), strings.Join(args, " "), err, stderrOf(err))
	}
	return string(out), nil
}

// entries yields the entries of the tar archive that a command prints.
func (p program) entries(t *testing.T, yield func(*tar.Header, io.Reader), args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.path, slices.Concat(p.args, args)...)
	cmd.Env = append(os.Environ(), p.env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s %s: %v", p.path, args[0], err)
		}
		yield(h, r)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s %s: %v", p.path, args[0], err)
	}
}

// undo runs a command that removes what another one made, even if the test was given up in the meantime. That there is
// nothing to remove is no failure.
func (p program) undo(ctx context.Context, args ...string) {
	_, _ = p.run(context.WithoutCancel(ctx), "", args...)
}

// debian finds a program that .ci/run installs by apt.
func debian(t *testing.T, name string) program {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: .ci/run says which Debian packages the tests need", err)
	}
	return program{path: file}
}

// goTool is the path of a Go program at a pinned version: installed for the first test that asks, and kept for the next run.
func goTool(t *testing.T, pinned string) string {
	t.Helper()
	pkg, version, _ := strings.Cut(pinned, "@")
	bin := filepath.Join(toolCache(t), path.Base(pkg)+"-"+version)
	file := filepath.Join(bin, path.Base(pkg))
	if exists(t, file) {
		return file
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	half, err := os.MkdirTemp(bin, "half")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half)
	output(t, []string{"GOBIN=" + half, "CGO_ENABLED=0", "GOFLAGS=-mod=mod"}, "go", "install", pinned)
	if err := os.Rename(filepath.Join(half, path.Base(pkg)), file); err != nil {
		t.Fatal(err)
	}
	return file
}

func toolCache(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "nixreg-conformance")
}
