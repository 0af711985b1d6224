package conformance_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// heldDefinitions are images of a machine that has a Nix store of its own; nothing else that the data was asked for is the same
// image.
const heldDefinitions = `
- {name: held/two, contents: [odd, lib], config: {Env: [X=/nix/store/i18dsfrnb74cd5vjm6hp6msc5g75prka-twin-2.0]}}
- {name: held/few, contents: [app], maxLayers: 4}
`

// heldRefs are what was asked for there. heldPackages are those by package name.
var (
	heldRefs     = refs("app:latest odd:latest held/two:latest held/few:latest")
	heldPackages = refs("app:latest odd:latest")
)

// nixMachine is a machine with a Nix store, and a nix-store that makes roots and nothing else.
type nixMachine struct {
	machine
	attr *syscall.SysProcAttr // of processes on it
}

// newNixMachine has the closure of app, as an image with a Nix database in it brings it. Where no process may have another
// root directory, the test is skipped.
func newNixMachine(t *testing.T) *nixMachine {
	t.Helper()
	m := &nixMachine{machine: newMachine(t)}
	m.attr = &syscall.SysProcAttr{Chroot: m.dir}
	if os.Geteuid() != 0 {
		m.attr.Cloneflags = syscall.CLONE_NEWUSER
		m.attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		m.attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	m.probe(t)
	writeInto(t, m.dir, "dev/null", nil)
	writeInto(t, m.dir, "images/held.yaml", []byte(heldDefinitions))
	output(t, []string{"CGO_ENABLED=0"}, "go", "build", "-o", filepath.Join(m.dir, "bin", "nix-store"), "github.com/nixreg/nixreg/conformance/nix/nix-store")
	m.fill(t)
	return m
}

// probe skips the test, in a run that is not meant to have it all, if there can be no machine.
func (m *nixMachine) probe(t *testing.T) {
	t.Helper()
	out, err := m.command("version").CombinedOutput()
	forbidden := errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) // the latter where there may be no more namespaces
	if forbidden && os.Getenv("NIXREG_E2E") != "1" {
		t.Skipf("no process may have a root directory of its own: %v", err)
	}
	if err != nil { // that there is none is said of a program, too, that needs shared libraries
		t.Fatalf("nixreg version, of a program made with CGO_ENABLED=0: %v\n%s", err, out)
	}
}

func (m *nixMachine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/nixreg", args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{"PATH=/bin", "HOME=/", "TMPDIR=/tmp"}, m.attr
	return cmd
}

// fill makes the store.
func (m *nixMachine) fill(t *testing.T) {
	t.Helper()
	in := newVectorInputs(t)
	s := start(t, in.options(t))
	defer s.stop(t)
	for _, l := range s.manifest(t, "args/nixdb", "latest", ociManifest).Layers {
		for r := tar.NewReader(bytes.NewReader(s.bytes(t, "/v2/args/nixdb/blobs/"+l.Digest))); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			h.Name = strings.TrimPrefix(path.Clean("/"+h.Name), "/")
			extract(t, m.dir, h, r)
		}
	}
}

// data is where the machine's /data lies for the others.
func (m *nixMachine) data() string { return filepath.Join(m.dir, "data") }

func (m *nixMachine) start(t *testing.T) *server {
	t.Helper()
	s := &server{Data: m.data(), log: newServerLog(), done: make(chan struct{})}
	s.cmd = m.command("serve", "--listen", "127.0.0.1:0", "--data", "/data", "--log-format", "json", "--store", "local", "--images", "/images",
		"--layer-encoding", "gzip", "--keep", "168h")
	s.run(t)
	return s
}

// roots are the links by which images are held: the key of an image and the link's name to the path that it holds.
func (m *nixMachine) roots(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	links, err := filepath.Glob(filepath.Join(m.data(), "gcroots", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(filepath.Dir(l))+"/"+filepath.Base(l)] = target
	}
	return all
}

// makeRoots pulls images of a machine with the data, and returns which of the links there hold each.
func makeRoots(t *testing.T, data string) (rows []vector) {
	t.Helper()
	m := newNixMachine(t)
	if err := errors.Join(os.Remove(m.data()), os.Rename(data, m.data())); err != nil {
		t.Fatal(err)
	}
	c := newCrawl(m.start(t))
	known := make(map[string]string)
	for _, ref := range heldRefs {
		c.name(t, "held", ref)
		for name, target := range m.roots(t) {
			if known[name] == "" {
				rows = append(rows, vector{"gcroots", ref, name, target, 1})
			}
			known[name] = target
		}
	}
	c.stop(t)
	slices.SortFunc(rows, func(a, b vector) int { return strings.Compare(a.String(), b.String()) })
	if err := os.Rename(m.data(), data); err != nil {
		t.Fatal(err)
	}
	return append(c.rows, rows...)
}

// What an earlier nixreg held against Nix's garbage collector is held on, under the same keys and by the same links: it stays
// as long after its last pull as before, and a pull makes no second link. What was used too long ago goes.
func TestRootsAreReadOn(t *testing.T) {
	table := readVectors(t, oldDataTable)
	held, links := vectorsOf(table, "held"), vectorsOf(table, "gcroots")
	for _, records := range []string{"with records", "without records"} {
		t.Run(records, func(t *testing.T) {
			m := newNixMachine(t)
			unpackData(t, m.data())
			if records == "without records" {
				if err := os.RemoveAll(filepath.Join(m.data(), "badger")); err != nil {
					t.Fatal(err)
				}
			}
			m.sameRoots(t, "the data", links)
			keys := keysOf(links)
			last := keys[len(keys)-1] // the sweep comes to it when it has seen all others
			for _, key := range keys {
				m.usedBefore(t, key, 167*time.Hour)
			}
			m.usedBefore(t, last, 169*time.Hour)

			c := newCrawl(m.start(t))
			eventually(t, "what was used too long ago has gone", func() bool { return !exists(t, m.folder(last)) })
			m.sameRoots(t, "after the sweep", slices.DeleteFunc(slices.Clone(links), func(r vector) bool { return strings.HasPrefix(r.What, last) }))
			var defined []vector
			for _, ref := range heldRefs {
				given := slices.DeleteFunc(slices.Clone(held), func(r vector) bool { return r.Ref != ref })
				if slices.Contains(heldPackages, ref) { // the name has an image of another format now
					c.byDigest(t, given)
					continue
				}
				c.name(t, "held", ref)
				defined = append(defined, given...)
			}
			sameVectors(t, oldDataTable, c.rows, defined)
			if further := m.furtherRoots(t, "after a pull", links); records == "with records" && len(further) > 0 {
				t.Errorf("after a pull there are links %v, too", further) // without records a search makes images of the present format
			}
			for _, key := range keys {
				if fi, err := os.Stat(m.folder(key)); err != nil || time.Since(fi.ModTime()) > 100*time.Hour {
					t.Errorf("that %s was used is not noted (%v)", key, err)
				}
			}
			if lines := c.complaints("Nix"); len(lines) > 0 {
				t.Errorf("it does not hold what it served: %q", lines)
			}
		})
	}
}

// keysOf are the folders of links, sorted.
func keysOf(links []vector) (keys []string) {
	for _, r := range links {
		key, _, _ := strings.Cut(r.What, "/")
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (m *nixMachine) folder(key string) string { return filepath.Join(m.data(), "gcroots", key) }

// usedBefore has a folder say that it was used so long ago.
func (m *nixMachine) usedBefore(t *testing.T, key string, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	if err := os.Chtimes(m.folder(key), at, at); err != nil {
		t.Fatal(err)
	}
}

// sameRoots compares the links that there are with those of the table.
func (m *nixMachine) sameRoots(t *testing.T, what string, want []vector) {
	t.Helper()
	for name, target := range m.furtherRoots(t, what, want) {
		t.Errorf("%s: the link %s to %s is new", what, name, target)
	}
}

// furtherRoots fails the test for each link that is gone, and returns the further ones.
func (m *nixMachine) furtherRoots(t *testing.T, what string, want []vector) map[string]string {
	t.Helper()
	got := m.roots(t)
	for _, r := range want {
		if got[r.What] != r.Digest {
			t.Errorf("%s: %s is held by a link %s to %q, want %s", what, r.Ref, r.What, got[r.What], r.Digest)
		}
		delete(got, r.What)
	}
	return got
}
