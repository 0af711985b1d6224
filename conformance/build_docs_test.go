package conformance_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// The pages on builds and on the garbage collector. Where they have nixpkgs, the test has sources of its own.
const (
	buildsPage  = "../docs/builds.md"
	collectPage = "../docs/garbage-collection.md"
)

// pagedBuild starts the server of the page's command, as readers do, on the test's store.
func (n ownNix) pagedBuild(t *testing.T, from, to string, env ...string) *server {
	t.Helper()
	command, _, _ := strings.Cut(snippet(t, buildsPage, "nixreg serve --build", from, to), "\n")
	data := filepath.Join(t.TempDir(), "nixreg") // the last component of where it is by default
	s := &server{Data: data, log: newServerLog(), done: make(chan struct{})}
	s.cmd = n.command(t.Context(), "sh", "-euc", "exec "+command+" --listen 127.0.0.1:0 --data "+data)
	s.cmd.Env = append(s.cmd.Env, "PATH="+filepath.Dir(binary)+":"+searchPath(s.cmd.Env))
	s.cmd.Env = append(s.cmd.Env, env...)
	s.run(t)
	return s
}

// searchPath is that of an environment.
func searchPath(env []string) (path string) {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = value
		}
	}
	return path
}

// The page's server builds what the page pulls, and the other page's command shows that it is held.
func TestBuildsPageCommands(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.pagedBuild(t, "nixpkgs", ".")
	lines := snippet(t, buildsPage, "docker run", "git/htop", "greeting/gnupackages.salute", "localhost:5000", s.Host, "-it", "-i")
	for line := range strings.Lines(lines) {
		words := strings.Fields(strings.TrimPrefix(line, "docker run --rm"))
		if !strings.HasPrefix(line, "docker run") || len(words) == 0 {
			continue
		}
		image := words[len(words)-1]
		pull(t, image)
		docker(t, "run", "--rm", "-i", "--network", "none", image)
	}
	if n.begun(t, "greeting-1.5") != 1 || n.begun(t, "salute-2.0") != 1 {
		t.Error("what the page pulls is not built")
	}
	for command := range strings.Lines(snippet(t, collectPage, "--print-roots")) {
		if command = strings.TrimSpace(command); command == "" {
			continue
		}
		if out := n.nix(t, "bash", "-euo", "pipefail", "-c", command); !strings.Contains(out, n.named(t, "greeting-1.5")[0]) {
			t.Errorf("%s prints %q, want what is held", command, out)
		}
	}
}

// The page's file, with a nixpkgs of the test's, has packages and a whole image.
func TestBuildsPageFile(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	writeInto(t, n.sources, "nixpkgs/default.nix", []byte(`{ system }: let all = import ../default.nix { inherit system; };
		in all // { hello = all.greeting; nginx = all.greeting; dockerTools.streamLayeredImage = { name, tag, contents }: all.images.web; }`))
	writeInto(t, n.sources, "page.nix", []byte(snippet(t, buildsPage, "import <nixpkgs>")))
	s := n.start(t, options{Args: []string{"--build-file", "page.nix"}, Env: []string{"NIX_PATH=nixpkgs=" + n.sources + "/nixpkgs"}})
	s.pullBuilt(t, n, "web", "web-conf.json")
	pull(t, s.Host+"/web:v1")
	s.image(t, "shell", "latest")
}
