package local_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/storetest"
)

// roots are what conformance/nix/mkstore.sh keeps in the store. Other tests add paths to it and delete them meanwhile.
const roots = "/nix/var/nix/gcroots/nixreg-test"

// rooted returns all paths that stay while the tests run.
func rooted(t *testing.T, s store.Store) []store.Path {
	t.Helper()
	links, err := os.ReadDir(roots)
	if err != nil {
		t.Fatal(err)
	}
	var ps []store.Path
	for _, l := range links {
		target, err := os.Readlink(roots + "/" + l.Name())
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := store.ParseAbs(target)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	closure, err := store.Closure(t.Context(), s, ps...)
	if err != nil {
		t.Fatal(err)
	}
	ps = ps[:0]
	for _, o := range closure {
		ps = append(ps, o.Path)
	}
	return ps
}

// TestRealStore reads a real store of hundreds of paths and watches Nix add a path to it and delete it.
func TestRealStore(t *testing.T) {
	if os.Getenv("NIXREG_E2E") != "1" {
		t.Skip("needs a real Nix store: set NIXREG_E2E=1 where there is one")
	}
	ctx := t.Context()
	s, err := local.Open(local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ps := rooted(t, s)
	if len(ps) < 300 {
		t.Errorf("only %d paths are kept below %s", len(ps), roots)
	}
	t.Run("all", func(t *testing.T) { storetest.Check(t, s, ps...) })

	name := t.TempDir() + "/nixreg-e2e"
	if err := os.WriteFile(name, []byte(t.TempDir()), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := s.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := store.ParseAbs(strings.TrimSpace(nix(t, "nix-store", "--add", name)))
	if err != nil {
		t.Fatal(err)
	}
	if after, err := s.State(ctx); err != nil || after == before {
		t.Errorf("state after an addition is still %q (%v)", after, err)
	}
	if found, err := s.Find(ctx, p.Hash()); found != p {
		t.Errorf("find what was added: %q, %v", found, err)
	}
	storetest.Check(t, s, p)
	nix(t, "nix-store", "--delete", p.Abs())
	if found, err := s.Find(ctx, p.Hash()); err == nil {
		t.Errorf("find what was deleted: %q", found)
	}
}

func nix(t *testing.T, arg ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), arg[0], arg[1:]...)
	c.Env = append(os.Environ(), "NIX_REMOTE=local", "NIX_CONFIG=build-users-group =\nsandbox = false\nsubstitute = false")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v", arg, err)
	}
	return string(out)
}

func BenchmarkObject(b *testing.B) {
	s, err := local.Open(local.Options{})
	if err != nil {
		b.Skip("needs a real Nix store")
	}
	defer s.Close()
	var ps []store.Path
	for e, err := range s.List(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		ps = append(ps, e.Path)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := s.Object(b.Context(), ps[i%len(ps)]); err != nil {
			b.Fatal(err)
		}
	}
}
