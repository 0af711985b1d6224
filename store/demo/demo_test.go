package demo_test

import (
	"bytes"
	"debug/elf"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/demo"
	"github.com/nixreg/nixreg/store/storetest"
)

func open(t *testing.T) *binarycache.Store {
	t.Helper()
	s, err := binarycache.Open(binarycache.Options{FS: demo.FS(), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func list(t *testing.T, s store.Store) (paths []store.Path) {
	t.Helper()
	for e, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, e.Path)
	}
	return paths
}

func TestConsistent(t *testing.T) {
	s := open(t)
	storetest.Check(t, s)
	var names []string
	for _, p := range list(t, s) {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	if want := []string{"greeting-1.0", "hello-1.0", "hello-1.0", "nixreg-logo-1.0"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// Nix finds references by the hash parts that an archive mentions; so must these be.
func TestReferences(t *testing.T) {
	s := open(t)
	all := list(t, s)
	for _, p := range all {
		tree, err := s.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		var nar bytes.Buffer
		if err := storetest.WriteNAR(t.Context(), &nar, tree); err != nil {
			t.Fatal(err)
		}
		var found []store.Path
		for _, q := range all {
			if bytes.Contains(nar.Bytes(), []byte(q.Hash())) {
				found = append(found, q)
			}
		}
		slices.Sort(found)
		obj, err := s.Object(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(found, obj.References) {
			t.Errorf("%s mentions %q, refers to %q", p, found, obj.References)
		}
	}
}

// Each program is static, of another machine, and prints files that are there.
func TestPrograms(t *testing.T) {
	s := open(t)
	var machines []string
	for _, p := range list(t, s) {
		if p.Name() != "hello-1.0" {
			continue
		}
		b, err := store.ReadFile(t.Context(), s, p, "bin/hello", 10<<10)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		machines = append(machines, f.Machine.String())
		for _, prog := range f.Progs {
			if prog.Type == elf.PT_INTERP || prog.Type == elf.PT_DYNAMIC || prog.Type == elf.PT_LOAD && prog.Align < 64<<10 {
				t.Errorf("%s: %+v", p, prog.ProgHeader)
			}
		}
		obj, err := s.Object(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(obj.References, func(r store.Path) bool { return r.Name() == "greeting-1.0" })
		for _, name := range []string{"share/greeting.txt", "share/logo.txt"} {
			if !bytes.Contains(b, []byte(path.Join(obj.References[i].Abs(), name)+"\x00")) {
				t.Errorf("%s does not mention %s", p, name)
			}
			got, err := store.ReadFile(t.Context(), s, obj.References[i], name, 10<<10)
			if err != nil {
				t.Error(err)
				continue
			}
			want, err := os.ReadFile("src/" + path.Base(name))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s is not that of src (%v): run rebuild.sh", name, err)
			}
		}
	}
	slices.Sort(machines)
	if want := []string{"EM_AARCH64", "EM_X86_64"}; !slices.Equal(machines, want) {
		t.Errorf("machines %q, want %q", machines, want)
	}
}
