package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

var ctx = context.Background()

func newMaker(t *testing.T, s store.Store) *layer.Maker {
	t.Helper()
	g := flight.NewGroup(ctx)
	t.Cleanup(g.Close)
	return &layer.Maker{Store: s, Cache: new(digests.Memory), Group: g, Scanning: &flight.Queue{Running: 2}, Hashing: &flight.Queue{Running: 2}, Uncached: &flight.Queue{Running: 2}}
}

func recipe(t *testing.T, s store.Store, paths ...store.Path) layer.Recipe {
	t.Helper()
	r := layer.Recipe{Format: layer.StorePaths, Owner: layer.Root, MTime: 1}
	for _, p := range paths {
		o, err := s.Object(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		r.Objects = append(r.Objects, layer.RefOf(o))
	}
	return r
}

func mustOpen(t *testing.T, m *layer.Maker, r layer.Recipe) *layer.Layer {
	t.Helper()
	info, err := m.Describe(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.Open(ctx, r, info.DiffID)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func whole(t *testing.T, l *layer.Layer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := l.WriteRange(ctx, &b, 0, l.Size()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// oddStore has files on both sides of every size that matters, and names that need extended headers.
func oddStore() (*storetest.Memory, store.Path, store.Path) {
	m := storetest.New()
	files := storetest.Files{
		"bin/run":                            storetest.Exec("#!/bin/sh\n"),
		"empty.dir":                          storetest.Dir(),
		"a/b":                                storetest.File("component order"),
		"a-b":                                storetest.File("puts a/b first"),
		"a.b":                                storetest.File(""),
		"link":                               storetest.Link("../" + strings.Repeat("x", 120)),
		"names/\xff":                         storetest.File("not UTF-8"),
		"names/\ue000":                       storetest.File("sorts after it"),
		strings.Repeat("deep/", 60) + "leaf": storetest.File("deep"),
	}
	for _, n := range []int{1, 511, 512, 513, 10240, 32768, 32769, 70000} {
		files[fmt.Sprintf("sizes/%d", n)] = storetest.File(strings.Repeat("s", n))
	}
	odd := m.Add("odd-1.0", files)
	single := m.Add("single-1", storetest.Files{"": storetest.File("a path that is a file")})
	return m, odd, single
}

// TestTarReadsBack reads a layer with Go's own tar reader: every node once, parents first, modes those of a Nix store.
func TestTarReadsBack(t *testing.T) {
	m, odd, single := oddStore()
	l := mustOpen(t, newMaker(t, m), recipe(t, m, odd, single))
	b := whole(t, l)
	if len(b)%10240 != 0 {
		t.Errorf("%d bytes are no multiple of 10240", len(b))
	}
	tr := tar.NewReader(bytes.NewReader(b))
	var names []string
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uname != "root" || h.ModTime.Unix() != 1 {
			t.Errorf("%s: owner %s, time %d", h.Name, h.Uname, h.ModTime.Unix())
		}
		if want := map[byte]int64{tar.TypeDir: 0o555, tar.TypeSymlink: 0o777, tar.TypeReg: 0o444}[h.Typeflag]; h.Mode != want &&
			!strings.HasSuffix(h.Name, "bin/run") && h.Name != "/nix/" && h.Name != "/nix/store/" {
			t.Errorf("%s: mode %o, not %o", h.Name, h.Mode, want)
		}
	}
	all := strings.Join(names, "\n")
	for _, order := range [][2]string{{"/a/b", "/a-b"}, {"/names/\xff", "/names/\ue000"}, {"/empty.dir/", "/sizes/1"}} {
		i, k := strings.Index(all, odd.Abs()+order[0]), strings.Index(all, odd.Abs()+order[1])
		if i < 0 || k < 0 || i > k {
			t.Errorf("%q is not before %q", order[0], order[1])
		}
	}
	if names[0] != "/nix/" || names[1] != "/nix/store/" || names[len(names)-1] != single.Abs() {
		t.Errorf("starts %q, ends %q", names[:2], names[len(names)-1])
	}
}

// TestRangesEqualWhole cuts a layer at many places and compares with the bytes of the whole.
func TestRangesEqualWhole(t *testing.T) {
	m, odd, single := oddStore()
	l := mustOpen(t, newMaker(t, m), recipe(t, m, odd, single))
	all := whole(t, l)
	rnd := rand.New(rand.NewPCG(1, 2))
	check := func(off, n int64) {
		var b bytes.Buffer
		if err := l.WriteRange(ctx, &b, off, n); err != nil {
			t.Fatalf("%d+%d: %v", off, n, err)
		}
		if !bytes.Equal(b.Bytes(), all[off:off+n]) {
			t.Fatalf("%d+%d differs from the whole", off, n)
		}
	}
	for range 500 {
		off := rnd.Int64N(l.Size())
		check(off, rnd.Int64N(min(l.Size()-off, 90000)+1))
	}
	for off := int64(0); off < l.Size(); off += 512 {
		check(off, min(512, l.Size()-off))
	}
	check(l.Size(), 0)
}

func TestChangedFileIsNeverServedWhole(t *testing.T) {
	m, odd, _ := oddStore()
	maker := newMaker(t, m)
	r := recipe(t, m, odd)
	l := mustOpen(t, maker, r)
	m.Change(odd, "sizes/70000", strings.Repeat("t", 70000))
	var b bytes.Buffer
	err := l.WriteRange(ctx, &b, 0, l.Size())
	if !errors.Is(err, store.ErrChanged) || int64(b.Len()) >= l.Size() {
		t.Errorf("%d of %d bytes and error %v", b.Len(), l.Size(), err)
	}
	if _, err := maker.Open(ctx, r, l.DiffID()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening it again gives %v", err)
	}
}

// TestTouchedFileIsHashedAgain: other stamps, the same bytes, as after `nix-store --optimise`.
func TestTouchedFileIsHashedAgain(t *testing.T) {
	m, odd, _ := oddStore()
	maker := newMaker(t, m)
	var hashed atomic.Int64
	maker.Progress = func(n int64) { hashed.Add(n) }
	r := recipe(t, m, odd)
	l := mustOpen(t, maker, r)
	m.Change(odd, "sizes/512", strings.Repeat("s", 512))
	whole(t, l)
	again, err := maker.Open(ctx, r, l.DiffID())
	if err != nil {
		t.Fatal(err)
	}
	whole(t, again)
	if hashed.Load() != 2*l.Size() {
		t.Errorf("hashed %d bytes, not twice %d", hashed.Load(), l.Size())
	}
}

func TestDeletedOrReplacedPathIsAbsent(t *testing.T) {
	m, odd, single := oddStore()
	maker := newMaker(t, m)
	r := recipe(t, m, odd, single)
	l := mustOpen(t, maker, r)
	m.Edit(odd, func(o *store.Object) { o.NarHash[0] ^= 1 })
	if _, err := maker.Open(ctx, r, l.DiffID()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("path with other contents: %v", err)
	}
	m.Delete(single)
	if _, err := maker.Open(ctx, recipe(t, m, odd), l.DiffID()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another layer's digest: %v", err)
	}
	if _, err := maker.Describe(ctx, layer.Recipe{Format: layer.StorePaths, Objects: r.Objects[1:]}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted path: %v", err)
	}
}

// TestHashedOnce asks for one layer from many sides at once.
func TestHashedOnce(t *testing.T) {
	m, odd, _ := oddStore()
	maker := newMaker(t, m)
	var hashed atomic.Int64
	maker.Progress = func(n int64) { hashed.Add(n) }
	r := recipe(t, m, odd)
	var wg sync.WaitGroup
	sizes := make([]int64, 50)
	for i := range sizes {
		wg.Go(func() {
			info, err := maker.Describe(ctx, r)
			if err != nil {
				t.Error(err)
			}
			sizes[i] = info.Size
		})
	}
	wg.Wait()
	if hashed.Load() != sizes[0] {
		t.Errorf("hashed %d bytes of a layer of %d", hashed.Load(), sizes[0])
	}
}

func TestWhiteoutsAreReported(t *testing.T) {
	m := storetest.New()
	p := m.Add("odd-1", storetest.Files{"d/.wh.gone": storetest.File(""), "d/wh.fine": storetest.File("")})
	info, err := newMaker(t, m).Describe(ctx, recipe(t, m, p))
	if err != nil || len(info.Whiteouts) != 1 || info.Whiteouts[0] != p.Abs()+"/d/.wh.gone" {
		t.Errorf("%v, %v", info.Whiteouts, err)
	}
}

func TestUnknownFormat(t *testing.T) {
	m, odd, _ := oddStore()
	r := recipe(t, m, odd)
	r.Format = "nixpkgs0"
	if _, err := newMaker(t, m).Describe(ctx, r); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

func TestOpenWantsItsDigest(t *testing.T) {
	m, odd, _ := oddStore()
	other := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	if _, err := newMaker(t, m).Open(ctx, recipe(t, m, odd), other); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
