package conformance_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// ownNix is a Nix whose store is a test's own, to build in and to collect garbage in: each program of it runs in a mount
// namespace in which a directory of the test is /nix. The network is the machine's, so clients reach a server in there.
type ownNix struct {
	dir     string // what is /nix inside
	sources string // has default.nix and flake.nix, which are nix/builds.nix
	place   string // where builders say what they do
}

// newNix copies the closures of these roots of mkstore.sh into a store of the test's own, where no root holds them.
func newNix(t *testing.T, of ...string) ownNix {
	t.Helper()
	top, err := os.MkdirTemp("/var/tmp", "nixreg-own") // not in memory, and nobody may look into it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	n := ownNix{filepath.Join(top, "nix"), filepath.Join(top, "sources"), filepath.Join(top, "place")}
	for _, dir := range []string{top, n.dir + "/store", n.dir + "/var", n.sources, n.place} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.writeSources(t)
	var paths []string
	for _, name := range of {
		paths = append(paths, closure(t, root(t, name))...)
	}
	if len(paths) > 0 {
		n.copyIn(t, paths)
	}
	return n
}

func (n ownNix) copyIn(t *testing.T, paths []string) {
	t.Helper()
	slices.Sort(paths)
	paths = slices.Compact(paths)
	output(t, nil, "cp", slices.Concat([]string{"-a", "--reflink=auto", "-t", n.dir + "/store"}, paths)...)
	load := n.command(t.Context(), "nix-store", "--load-db")
	load.Stdin = strings.NewReader(output(t, nixEnv, "nix-store", slices.Concat([]string{"--dump-db"}, paths)...))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("nix-store --load-db: %v\n%s", err, out)
	}
}

// writeSources writes a directory that Nix builds from, with all it needs.
func (n ownNix) writeSources(t *testing.T) {
	t.Helper()
	work := cmp.Or(os.Getenv("NIXREG_WORK"), "/var/tmp/nixreg-store")
	files, err := filepath.Glob(work + "/*.deb")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no Debian packages in %s: make the test store with conformance/nix/mkstore.sh all", err, work)
	}
	for _, f := range append(files, work+"/versions.json", "nix/closure.nix") {
		writeInto(t, n.sources, filepath.Base(f), readFile(t, f))
	}
	writeInto(t, n.sources, "default.nix", readFile(t, "nix/builds.nix"))
	writeInto(t, n.sources, "flake.nix", readFile(t, "nix/builds-flake.nix"))
	writeInto(t, n.sources, "place", []byte(n.place))
	for _, pipe := range []string{"gate", "pipe"} {
		if err := syscall.Mkfifo(filepath.Join(n.place, pipe), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// command is a program that sees the test's store, and as little of the user's home as it can.
func (n ownNix) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	const enter = `mount --bind "$0" /nix; exec "$@"` // it stays one process
	cmd := exec.CommandContext(ctx, "unshare", slices.Concat([]string{"--mount", "sh", "-euc", enter, n.dir, name}, args)...)
	cmd.Env = append(os.Environ(), nixEnv...)
	cmd.Env = append(cmd.Env, "HOME="+n.place)
	cmd.Dir = n.sources
	return cmd
}

// nix runs a program of Nix on the test's store.
func (n ownNix) nix(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := n.command(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s %.300q: %v\n%s", name, args, err, stderrOf(err))
	}
	return string(out)
}

// start runs nixreg serve on the test's store, in the directory of the sources.
func (n ownNix) start(t *testing.T, o options) *server {
	t.Helper()
	if o.Data == "" {
		o.Data = filepath.Join(t.TempDir(), "data")
	}
	s := &server{Data: o.Data, log: newServerLog(), done: make(chan struct{})}
	var program []string
	if o.UID != 0 {
		program = []string{"setpriv", fmt.Sprintf("--reuid=%d", o.UID), fmt.Sprintf("--regid=%d", o.UID), "--clear-groups"}
	}
	program = append(program, binary, "serve", "--listen", "127.0.0.1:0", "--data", o.Data, "--log-format", "json", "--store", "local")
	s.cmd = n.command(context.Background(), program[0], slices.Concat(program[1:], o.Args)...)
	s.cmd.Env = append(s.cmd.Env, o.Env...)
	s.run(t)
	return s
}

// byFile and byFlake are the two ways to name what is built.
var (
	byFile  = options{Args: []string{"--build-file", "default.nix"}}
	byFlake = options{Args: []string{"--build", "."}}
)

// has reports whether a store path is there.
func (n ownNix) has(t *testing.T, path string) bool {
	t.Helper()
	return exists(t, filepath.Join(n.dir, "store", filepath.Base(path)))
}

// named are the store paths with this name.
func (n ownNix) named(t *testing.T, name string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(n.dir, "store", strings.Repeat("?", 32)+"-"+name))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range found {
		found[i] = "/nix/store/" + filepath.Base(p)
	}
	return found
}

// begun counts how often a builder ran, by what it said itself.
func (n ownNix) begun(t *testing.T, name string) (count int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.place, "begun"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.TrimSpace(line) == name {
			count++
		}
	}
	return count
}

// open opens a pipe of the place for both ways, so that neither side waits for the other to open it.
func (n ownNix) open(t *testing.T, pipe string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(n.place, pipe), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// builds counts the builds that the server began.
func (s *server) builds() int { return s.count(`"msg":"build begins"`) }

// count counts how often something is in the server's log.
func (s *server) count(what string) int { return strings.Count(s.log.String(), what) }
