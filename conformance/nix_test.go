package conformance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// local is a server of the machine's own Nix store.
var local = options{Args: []string{"--store", "local"}}

const roots = "/nix/var/nix/gcroots/nixreg-test"

// nixEnv lets Nix work on the store by itself: no daemon, no network, no sandbox.
var nixEnv = []string{"NIX_REMOTE=local", "NIX_CONFIG=build-users-group =\nsandbox = false\nsubstitute = false\nsubstituters =\n"}

// root is the store path that mkstore.sh keeps under a name.
func root(t *testing.T, name string) string {
	t.Helper()
	p, err := os.Readlink(filepath.Join(roots, name))
	if err != nil {
		t.Fatalf("%v: make the test store with conformance/nix/mkstore.sh all", err)
	}
	return p
}

// helloPath is the hello that was built on this machine.
func helloPath(t *testing.T) string { return root(t, "hello") }

// closure is what Nix says a path needs.
func closure(t *testing.T, path string) []string {
	t.Helper()
	return strings.Fields(output(t, nixEnv, "nix-store", "--query", "--requisites", path))
}

// hash is the hash part of a full store path.
func hash(path string) string {
	h, _, _ := strings.Cut(filepath.Base(path), "-")
	return h
}

// version is what follows the last dash of a path whose name is as simple as hello's.
func version(path string) string { return path[strings.LastIndex(path, "-")+1:] }
