package conformance_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const nobody = 65534

// nobodys are options for a server that runs as a user who may write its own data directory and nothing else.
func nobodys(t *testing.T) options {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("only root can start nixreg as another user")
	}
	dir, err := os.MkdirTemp("", "nixreg-nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	o := local
	o.UID, o.Data, o.Env = nobody, filepath.Join(dir, "data"), []string{"HOME=" + dir}
	return o
}

// build is a running nix-build that ends when the test lets it, and so keeps Nix busy until then.
type build struct {
	Name string // of the package; its version is 1.0
	cmd  *exec.Cmd
	gate *os.File
	out  strings.Builder
}

func startBuild(t *testing.T) *build {
	t.Helper()
	dir := t.TempDir()
	gate, started := filepath.Join(dir, "gate"), filepath.Join(dir, "started")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	// The directory is new for each run, and so is the derivation. In the name a letter follows each dash: a digit
	// would begin the version.
	b := &build{Name: fmt.Sprintf("nixreg-e2e-p%d", os.Getpid())}
	expr := fmt.Sprintf(`derivation { name = "%s-1.0"; system = builtins.currentSystem; builder = "/bin/bash"; PATH = "/usr/bin:/bin";
		args = [ "-euc" ": > %s; read -r x < %s; mkdir -p $out/share; echo %s > $out/share/where; exit 0" ]; }`, b.Name, started, gate, dir)
	b.cmd = exec.CommandContext(t.Context(), "nix-build", "--no-out-link", "--expr", expr)
	b.cmd.Env = append(os.Environ(), nixEnv...)
	b.cmd.Stdout, b.cmd.Stderr = &b.out, os.Stderr
	var err error
	if b.gate, err = os.OpenFile(gate, os.O_RDWR, 0); err != nil { // both ways, so that neither side waits to open it
		t.Fatal(err)
	}
	t.Cleanup(func() { b.gate.Close() })
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Nix builds", func() bool { return exists(t, started) })
	return b
}

// finish lets the build end and returns the path it made.
func (b *build) finish(t *testing.T) string {
	t.Helper()
	if _, err := b.gate.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Wait(); err != nil {
		t.Fatalf("nix-build: %v", err)
	}
	return strings.TrimSpace(b.out.String())
}

func TestUnprivilegedUserBesideIdleNix(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	start(t, nobodys(t)).image(t, "hello", hash(hello))
}

func TestUnprivilegedUserBesideBusyNix(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	b := startBuild(t)
	s := start(t, nobodys(t))
	s.image(t, "hello", hash(hello))
	addedThenDeleted(t, s, b, func() {}) // Nix lets nobody hold anything without its daemon
}

func TestStoreThatChangesWhileServed(t *testing.T) {
	endToEnd(t)
	s := start(t, local)
	s.image(t, "hello", "latest")
	addedThenDeleted(t, s, startBuild(t), func() { s.letGo(t) })
}

// addedThenDeleted sees that a path is offered soon after Nix registered it, not before, and no more once it is gone. What
// the server holds against that letGo takes from it.
func addedThenDeleted(t *testing.T, s *server, b *build, letGo func()) {
	t.Helper()
	url := "/v2/" + b.Name + "/manifests/latest"
	if got := s.status(t, url); got != http.StatusNotFound {
		t.Errorf("GET %s before it is built: %d", url, got)
	}
	path := b.finish(t)
	t.Cleanup(func() { deletePath(path) }) // for a test that fails before it comes to that
	eventually(t, path+" is found", func() bool { return s.status(t, url) == http.StatusOK })
	m := s.image(t, b.Name, "latest")[0]

	letGo()
	if out, err := deletePath(path); err != nil {
		t.Fatalf("nix-store --delete: %v\n%s", err, out)
	}
	eventually(t, path+" is forgotten", func() bool { return s.status(t, url) == http.StatusNotFound })
	blob := "/v2/" + b.Name + "/blobs/" + m.Layers[0].Digest
	if got := s.status(t, blob); got != http.StatusNotFound {
		t.Errorf("GET %s, a layer of the deleted path: %d", blob, got)
	}
}

// deletePath deletes a path and the derivation that built it.
func deletePath(path string) ([]byte, error) {
	cmd := exec.Command("bash", "-euc", `nix-store --delete "$1" "$(nix-store --query --deriver "$1")"`, "delete", path)
	cmd.Env = append(os.Environ(), nixEnv...)
	return cmd.CombinedOutput()
}
