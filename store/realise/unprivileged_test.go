package realise_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
)

// TestRealDaemon holds a path as a user who may not write to the store, through Nix's daemon.
func TestRealDaemon(t *testing.T) {
	realNix(t)
	_, file, _ := sources(t)
	built, err := real(t, realise.Options{File: file}).Build(t.Context(), "hello", host)
	if err != nil {
		t.Fatal(err)
	}
	paths := built.Outputs
	top, err := os.MkdirTemp("", "nixreg-roots") // t.TempDir lies in a folder that is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	exe, socket, dir := filepath.Join(top, "holder"), filepath.Join(top, "socket"), filepath.Join(top, "data")
	daemon(t, socket)
	copyFile(t, exe, self(t))
	for _, name := range []string{top, socket} {
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), exe, "holder", dir, string(paths[0]))
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + top, "NIX_REMOTE=daemon", "NIX_DAEMON_SOCKET_PATH=" + socket}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if got := links(t, filepath.Join(dir, "ab")); !got[paths[0].Abs()] {
		t.Errorf("links %v", got)
	}
	if out, err := run(t, "nix-store", "--delete", paths[0].Abs()); err == nil {
		t.Errorf("Nix deletes what is held: %s", out)
	}
}

// daemon starts Nix's with a socket that listens already.
func daemon(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec nix-daemon")
	c.ExtraFiles = []*os.File{f}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

// holder is the process that has no right to the store: it holds one path and says what went wrong.
func holder(dir, path string) int {
	r, err := realise.NewRoots(realise.RootsOptions{Dir: dir})
	if err == nil {
		err = r.Hold(context.Background(), "ab", []store.Path{store.Path(path)})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
