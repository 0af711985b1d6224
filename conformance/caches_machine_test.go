package conformance_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// machine is a tree of files for a nixreg that runs as if on another machine: there is no /nix in it, no shell, and no
// file but the program and what a test adds.
type machine struct{ dir string }

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{t.TempDir()}
	for _, dir := range []string{"data", "images", "proc", "tmp"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(m.dir, "nixreg"), readFile(t, binary), 0o755); err != nil {
		t.Fatal(err)
	}
	writeInto(t, m.dir, "etc/hosts", []byte("127.0.0.1 localhost\n"))
	return m
}

// start runs nixreg serve in a mount namespace of its own whose root is the machine's tree. The network is the host's.
func (m machine) start(t *testing.T, o options) *server {
	t.Helper()
	s := &server{Data: filepath.Join(m.dir, "data"), log: newServerLog(), done: make(chan struct{})}
	s.cmd = exec.Command("unshare", slices.Concat([]string{"--mount", "--root", m.dir, "--wd", "/", "--mount-proc",
		"/nixreg", "serve", "--listen", "127.0.0.1:0", "--data", "/data", "--log-format", "json"}, o.Args)...)
	s.cmd.Env = append([]string{"HOME=/", "TMPDIR=/tmp"}, o.Env...)
	s.run(t)
	return s
}

// versitygw serves directories as buckets of S3, and checks signatures as S3 does.
const versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// The user of the buckets.
const (
	bucketsUser   = "AKIANIXREG"
	bucketsSecret = "secret/of+the/buckets"
)

// serveBuckets serves directories under the names of buckets, behind a gate.
func serveBuckets(t *testing.T, buckets map[string]string) *upstream {
	t.Helper()
	dir, err := os.MkdirTemp("", "nixreg-s3") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root, socket := filepath.Join(dir, "root"), filepath.Join(dir, "socket")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, of := range buckets {
		if err := os.Symlink(of, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	log := newServerLog()
	cmd := exec.Command(goTool(t, versitygw), "--port", socket, "--keep-alive", "posix", "--bucketlinks", "--nometa", root)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+bucketsUser, "ROOT_SECRET_KEY="+bucketsSecret)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	eventually(t, "versitygw listens", func() bool {
		c, err := dial(t.Context(), "", "")
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "versitygw"}) // the client's Host stays: it is signed
	proxy.Transport = &http.Transport{DialContext: dial, DisableCompression: true}
	return gate(t, localServer(t, proxy))
}
