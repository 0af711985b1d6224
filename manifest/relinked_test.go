package manifest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/nixdb"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/storetest"
)

// relinked is a store on the disk, of which one file has other names, as nix-store --optimise gives it.
type relinked struct {
	*local.Store
	file   string // on the disk
	shared string // another name of it
	equal  string // another file with the same bytes
	free   string // a name that nothing has
}

const large = "share/large"

// newRelinked writes hello to a disk, with Nix's database of it.
func newRelinked(t *testing.T) *relinked {
	t.Helper()
	f := storetest.NewFixture("hello-1", storetest.Files{"bin/hello": elf(machineAMD64), large: storetest.File(strings.Repeat("large ", 200_000))})
	m, root := storetest.New(), t.TempDir()
	o, err := m.Object(ctx, m.Put(f))
	if err != nil {
		t.Fatal(err)
	}
	db, err := nixdb.Database([]nixdb.Path{{Path: f.Path.Abs(), NarHash: "sha256:" + hex.EncodeToString(o.NarHash[:]), NarSize: o.NarSize}})
	if err != nil {
		t.Fatal(err)
	}
	dbFile := filepath.Join(root, "nix/var/nix/db/db.sqlite")
	write(t, dbFile, string(db))
	l := &relinked{file: filepath.Join(root, f.Path.Abs(), large), shared: root + "/shared", equal: root + "/equal", free: root + "/free"}
	for name, item := range f.Files {
		write(t, filepath.Join(root, f.Path.Abs(), name), item.Data)
	}
	write(t, l.equal, f.Files[large].Data)
	then := time.Now().Add(-time.Hour) // the state of a database that was written just now is about to change
	err = errors.Join(os.Chmod(filepath.Join(root, f.Path.Abs(), "bin/hello"), 0o755), os.Link(l.file, l.shared), os.Chtimes(dbFile, then, then))
	if err == nil {
		l.Store, err = local.Open(local.Options{Root: root})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// halfway hashes what is written to it, and does something once, behind so many bytes.
type halfway struct {
	hash.Hash
	after int
	then  func() error
	err   error
}

func (h *halfway) Write(p []byte) (int, error) {
	if h.after -= len(p); h.after < 0 && h.then != nil {
		h.err, h.then = h.then(), nil
	}
	return h.Hash.Write(p)
}

// TestRelinkedFile: Nix gives a file other names and takes them away (nix-store --optimise, auto-optimise-store, the
// garbage collector). Its bytes stay what they were: no layer is cut for that, and no first manifest fails.
func TestRelinkedFile(t *testing.T) {
	want := inspect(t, newSource(t, "", newRelinked(t)), "hello", "1")
	for name, relink := range map[string]func(l *relinked) error{
		"nothing happens":        func(*relinked) error { return nil }, // as today
		"one name more":          func(l *relinked) error { return os.Link(l.file, l.free) },
		"one name less":          func(l *relinked) error { return os.Remove(l.shared) },
		"an equal file in place": func(l *relinked) error { return os.Rename(l.equal, l.file) },
	} {
		for _, after := range []int{0, 500_000} {
			l := newRelinked(t)
			src := newSource(t, "", l)
			layer := inspect(t, src, "hello", "1").Layers[0].Digest
			if err := intactThough(src, layer, after, func() error { return relink(l) }); err != nil {
				t.Errorf("%s behind %d bytes of a layer: %v", name, after, err)
			}
			if err := intact(src, "hello", layer); err != nil {
				t.Errorf("%s behind %d bytes of a layer: when it is asked for again: %v", name, after, err)
			}
		}
		for n, more := 1, true; more; n++ { // at each opening of the path, as long as there are more
			l, opened := newRelinked(t), new(atomic.Int32)
			src := newSource(t, "", &faulty{Store: l, open: func(context.Context, store.Path) error {
				if opened.Add(1) == int32(n) {
					return relink(l)
				}
				return nil
			}})
			d, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "1", Accept: first})
			if err != nil || d.Digest != want.Manifest {
				t.Errorf("%s at opening %d for a first manifest: %v", name, n, err)
			}
			more = int(opened.Load()) >= n
		}
	}
}

// TestOtherFileInPlace: a file with other contents is no relinked file: the layer is cut, and not served any more.
func TestOtherFileInPlace(t *testing.T) {
	for name, change := range map[string]func(l *relinked) error{
		"in place":       func(l *relinked) error { return os.Rename(l.equal, l.file) },
		"written":        func(l *relinked) error { return os.WriteFile(l.file, readAll(l.equal), 0o444) },
		"and back again": func(l *relinked) error { return errors.Join(os.Rename(l.equal, l.file), os.Link(l.file, l.free)) },
	} {
		for _, after := range []int{0, 500_000} {
			l := newRelinked(t)
			src := newSource(t, "", l)
			layer := inspect(t, src, "hello", "1").Layers[0].Digest
			write(t, l.equal, strings.Repeat("other ", 200_000))
			if err := intactThough(src, layer, after, func() error { return change(l) }); !errors.Is(err, store.ErrChanged) {
				t.Errorf("%s behind %d bytes of a layer: %v", name, after, err)
			}
			if err := intact(src, "hello", layer); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s behind %d bytes of a layer: when it is asked for again: %v", name, after, err)
			}
		}
	}
}

func readAll(name string) []byte {
	b, _ := os.ReadFile(name)
	return b
}

// intactThough reads a layer of hello, in the midst of which something happens, and compares its bytes with its digest.
func intactThough(src *manifest.Source, layer v1.Hash, after int, happens func() error) error {
	b, err := src.Blob(ctx, "hello", layer)
	if err != nil {
		return err
	}
	w := &halfway{Hash: sha256.New(), after: after, then: happens}
	if err := errors.Join(b.WriteRange(ctx, w, 0, b.Size()), w.err); err != nil {
		return err
	}
	if got := hex.EncodeToString(w.Sum(nil)); got != layer.Hex {
		return errOther
	}
	return nil
}
