package hostfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/hostfile"
	"github.com/nixreg/nixreg/store/storetest"
)

// renamed is a hostfile.Store under the paths of fixtures, with what those say of themselves.
type renamed struct {
	store.Store
	oracle *storetest.Memory
	paths  map[store.Path]store.Path
}

func (r renamed) Find(ctx context.Context, hash string) (store.Path, error) {
	return r.oracle.Find(ctx, hash)
}

func (r renamed) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	if _, err := r.Store.Object(ctx, r.paths[p]); err != nil {
		return nil, err
	}
	return r.oracle.Object(ctx, p)
}

func (r renamed) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	return r.Store.Open(ctx, r.paths[p])
}

func (r renamed) List(ctx context.Context) iter.Seq2[store.Entry, error] { return r.Store.List(ctx) }

// TestContract: files are read as those of every store are.
func TestContract(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		dir := t.TempDir()
		s := new(hostfile.Store)
		r := renamed{s, storetest.New(), make(map[store.Path]store.Path)}
		for _, f := range objs {
			r.oracle.Put(f)
			write(t, filepath.Join(dir, string(f.Path)), f.Files)
			p, err := s.Add(filepath.Join(dir, string(f.Path)))
			if err != nil {
				t.Fatal(err)
			}
			r.paths[f.Path] = p
		}
		return r
	})
}

func write(t *testing.T, name string, files storetest.Files) {
	t.Helper()
	for _, nd := range files.Nodes() {
		at := name
		if nd.Name != "" {
			at += "/" + nd.Name
		}
		var err error
		switch nd.Kind {
		case store.Directory:
			err = os.Mkdir(at, 0o755)
		case store.Symlink:
			err = os.Symlink(nd.Target, at)
		default:
			mode := os.FileMode(0o644)
			if nd.Executable {
				mode = 0o755
			}
			err = os.WriteFile(at, []byte(files[nd.Name].Data), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func object(t *testing.T, s store.Store, p store.Path) *store.Object {
	t.Helper()
	o, err := s.Object(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestOnlyWhatWasAdded exists, and nothing of it can be found by other means than the path Add gave.
func TestOnlyWhatWasAdded(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d"), storetest.Files{"x": storetest.File("x")})
	s := new(hostfile.Store)
	p, err := s.Add(filepath.Join(dir, "d", "..", "d"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := new(hostfile.Store).Add(filepath.Join(dir, "d")); again != p || err != nil {
		t.Errorf("%s, %v; want %s again", again, err, p)
	}
	if !strings.HasSuffix(string(p), "-d") {
		t.Errorf("path is %s", p)
	}
	if _, err := s.Find(t.Context(), p.Hash()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find: %v", err)
	}
	for e, err := range s.List(t.Context()) {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("List: %v, %v", e, err)
		}
	}
	for name, kind := range map[string]error{"d": fs.ErrInvalid, filepath.Join(dir, "absent"): fs.ErrNotExist} {
		if p, err := s.Add(name); p != "" || !errors.Is(err, kind) {
			t.Errorf("Add(%q) = %q, %v", name, p, err)
		}
	}
	if _, err := new(hostfile.Store).Object(t.Context(), p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path of another store: %v", err)
	}
}

// TestOddNames: whatever a file is called, its path is well formed.
func TestOddNames(t *testing.T) {
	dir := t.TempDir()
	s := new(hostfile.Store)
	for _, base := range []string{"a b", "...", ".-x", "é\xff\n", strings.Repeat("n", 255), "/"} {
		name := filepath.Join(dir, base)
		if base == "/" {
			name = base
		} else if err := os.WriteFile(name, []byte("data"), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := s.Add(name)
		if err != nil {
			t.Errorf("%q: %v", base, err)
			continue
		}
		if _, err := store.ParsePath(string(p)); err != nil {
			t.Error(err)
		}
	}
}

// TestFingerprint: whatever happens to a file or to a directory changes NarHash, and State a second later.
func TestFingerprint(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"file written in place": func(dir string) error { return os.WriteFile(dir+"/f", []byte("DATA!"), 0o644) },
		"file replaced":         func(dir string) error { return replace(dir+"/f", "data") },
		"old mtime put back":    func(dir string) error { return touched(dir + "/f") },
		"mode":                  func(dir string) error { return os.Chmod(dir+"/f", 0o755) },
		"kind":                  func(dir string) error { return errors.Join(os.Remove(dir+"/f"), os.Mkdir(dir+"/f", 0o755)) },
		"file of a directory":   func(dir string) error { return replace(dir+"/d/index", "other") },
		"deeper file added":     func(dir string) error { return os.WriteFile(dir+"/d/blobs/kind/2", nil, 0o644) },
		"deeper file replaced":  func(dir string) error { return replace(dir+"/d/blobs/kind/1", "other") },
		"directory gone":        func(dir string) error { return os.RemoveAll(dir + "/d/blobs") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir+"/d", storetest.Files{"index": storetest.File("x"), "blobs/kind/1": storetest.File("1")})
				write(t, dir+"/f", storetest.Files{"": storetest.File("data")})
				s := new(hostfile.Store)
				look := func() (out [3]string) {
					for i, base := range []string{"/f", "/d"} {
						p, err := s.Add(dir + base)
						if err != nil {
							t.Fatal(err)
						}
						out[i] = object(t, s, p).NarHash.String()
					}
					var err error
					if out[2], err = s.State(t.Context()); err != nil {
						t.Fatal(err)
					}
					return out
				}
				before := look()
				if again := look(); again != before {
					t.Fatalf("%v, then %v without a change", before, again)
				}
				if err := change(dir); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // of the bubble's clock
				if after := look(); after[2] == before[2] || after[0] == before[0] && after[1] == before[1] {
					t.Errorf("%v stay %v", before, after)
				}
			})
		})
	}
}

// replace puts another file in the place of one, as a careful writer does: the old inode lives until the new one is there.
func replace(name, data string) error {
	return errors.Join(os.WriteFile(name+".new", []byte(data), 0o644), os.Rename(name+".new", name))
}

// touched changes nothing of a file but the time of its last change.
func touched(name string) error {
	before, err := os.Stat(name)
	if err != nil {
		return err
	}
	for { // a file system's clock ticks slowly
		if err := os.Chtimes(name, time.Time{}, before.ModTime()); err != nil {
			return err
		}
		now, err := os.Stat(name)
		if err != nil || fmt.Sprint(now.Sys()) != fmt.Sprint(before.Sys()) {
			return err
		}
	}
}

// TestBound: a full store has room for others once some of its files are gone.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	for _, base := range []string{"/f", "/g"} {
		write(t, dir+base, storetest.Files{"": storetest.File("x")})
	}
	s := new(hostfile.Store)
	s.Fill(dir + "/f")
	if p, err := s.Add(dir + "/g"); p != "" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("one more: %q, %v", p, err)
	}
	if err := os.Remove(dir + "/f"); err != nil {
		t.Fatal(err)
	}
	p, err := s.Add(dir + "/g")
	if err != nil {
		t.Fatal(err)
	}
	object(t, s, p)
}

// TestGone: what vanishes is not there, for State too, and comes back.
func TestGone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	write(t, name, storetest.Files{"": storetest.File("x")})
	s := new(hostfile.Store)
	p, err := s.Add(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name, name+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Object(t.Context(), p); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), name) {
		t.Errorf("Object: %v", err)
	}
	if _, err := s.Open(t.Context(), p); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), name) {
		t.Errorf("Open: %v", err)
	}
	if _, err := s.State(t.Context()); err != nil {
		t.Errorf("State: %v", err)
	}
	if err := os.Rename(name+"2", name); err != nil {
		t.Fatal(err)
	}
	object(t, s, p)
}

// TestChangedWhileRead: a file that is replaced never arrives complete.
func TestChangedWhileRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	write(t, name, storetest.Files{"": storetest.File(strings.Repeat("a", 1<<20))})
	s := new(hostfile.Store)
	p, err := s.Add(name)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	nd, err := store.Lookup(t.Context(), tr, "")
	if err != nil {
		t.Fatal(err)
	}
	w := &hook{then: func() {
		if err := os.Truncate(name, 1<<20-1); err != nil {
			t.Error(err)
		}
	}}
	if err := tr.WriteFile(t.Context(), w, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) || int64(w.b.Len()) >= nd.Size {
		t.Errorf("%d of %d bytes, %v", w.b.Len(), nd.Size, err)
	}
}

// hook calls a function with each write.
type hook struct {
	b    bytes.Buffer
	then func()
}

func (h *hook) Write(p []byte) (int, error) {
	h.then()
	return h.b.Write(p)
}

// TestNoWayOut: a directory that a link takes the place of, between looking and reading, leads nowhere.
func TestNoWayOut(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/d", storetest.Files{"in/f": storetest.File("inside")})
	write(t, dir+"/out", storetest.Files{"f": storetest.File("secret")})
	s := new(hostfile.Store)
	p, err := s.Add(dir + "/d")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	nd, err := store.Lookup(t.Context(), tr, "in/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(dir+"/d/in", dir+"/d/was"), os.Symlink("../out", dir+"/d/in")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tr.WriteFile(t.Context(), &b, nd, 0, nd.Size); err == nil || b.Len() > 0 {
		t.Errorf("%q, %v", b.String(), err)
	}
	if _, err := store.Lookup(t.Context(), tr, "in/f"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("look up: %v", err)
	}
	if _, _, err := store.Resolve(t.Context(), s, p.Abs()+"/in/f"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("resolve: %v", err)
	}
}
