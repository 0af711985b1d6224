package binarycache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

// A cache without a signature, as Nix 2.8 wrote it with `nix copy` and compression=br, of paths that it made with
// `nix-store --add-fixed [--recursive]` (md5, sha1, sha256, sha512), builtins.toFile and `nix store make-content-addressed`.
func TestContentAddressedCache(t *testing.T) {
	s := open(t, Options{FS: os.DirFS("testdata/ca-cache")})
	kinds := make(map[string]bool)
	n := 0
	for e, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		storetest.Check(t, s, e.Path)
		kind := e.CA[:strings.LastIndex(e.CA, ":")]
		obj, err := s.Object(t.Context(), e.Path)
		if err != nil {
			t.Fatal(err)
		}
		kinds[fmt.Sprintf("%s %t", kind, len(obj.References) > 0)] = true
	}
	for _, want := range []string{
		"text:sha256 false", "text:sha256 true", "fixed:r:sha256 true", "fixed:r:sha256 false", "fixed:sha256 false", "fixed:md5 false", "fixed:sha1 false",
		"fixed:sha512 false", "fixed:r:md5 false", "fixed:r:sha1 false", "fixed:r:sha512 false",
	} {
		if !kinds[want] {
			t.Errorf("no %s", want)
		}
	}
	if files, err := fs.Glob(os.DirFS("testdata/ca-cache"), "*"+narinfoSuffix); err != nil || len(files) != n {
		t.Errorf("%d of %d paths are valid, %v", n, len(files), err)
	}
}

// caCache is a cache of one unsigned path, named after a content address but not necessarily with that content.
func caCache(t *testing.T, ca string, archive []byte, refs ...store.Path) (fstest.MapFS, store.Path) {
	t.Helper()
	a, err := parseCA(ca)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.path("x", refs)
	if err != nil {
		t.Fatal(err)
	}
	obj := &store.Object{Entry: store.Entry{Path: p, CA: ca}, NarHash: sha256.Sum256(archive), NarSize: int64(len(archive)), References: refs}
	cache := fstest.MapFS{"nix-cache-info": {Data: []byte(cacheInfo)}}
	addNAR(t, cache, nar.XZ, newSigner("nobody"), obj, archive)
	return cache, p
}

// The content of a content-addressed path has to have the hash that its name is made of.
func TestContentAddress(t *testing.T) {
	file := func(contents string) []byte { return narOf("(", "type", "regular", "contents", contents, ")") }
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("contents")))
	narSum := func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
	long := strings.Repeat("0123456789", 100_000)
	for _, tc := range []struct {
		name, ca string
		archive  []byte
		ok       bool
	}{
		{"flat", "fixed:sha256:" + sum, file("contents"), true},
		{"text", "text:sha256:" + sum, file("contents"), true},
		{"long", "fixed:sha256:" + narSum([]byte(long)), file(long), true},
		{"nothing", "fixed:sha256:" + narSum(nil), file(""), true},
		{"other contents", "fixed:sha256:" + sum, file("Contents"), false},
		{"other text", "text:sha256:" + sum, file("content"), false},
		{"executable", "fixed:sha256:" + sum, narOf("(", "type", "regular", "executable", "", "contents", "contents", ")"), false},
		{"link", "fixed:sha256:" + sum, narOf("(", "type", "symlink", "target", "contents", ")"), false},
		{"directory", "fixed:sha256:" + narSum(nil), narOf("(", "type", "directory", ")"), false},
		{"recursive", "fixed:r:sha256:" + narSum(file("a")), file("a"), true},
		{"another archive", "fixed:r:sha256:" + narSum(file("a")), file("b"), false},
		{"another archive, sha1", "fixed:r:sha1:" + strings.Repeat("0", 40), file("b"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cache, p := caCache(t, tc.ca, tc.archive)
			s := open(t, Options{FS: cache})
			tr, err := s.Open(t.Context(), p)
			if err == nil {
				tr.Close()
			}
			if tc.ok != (err == nil) || !tc.ok && (!errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), string(p))) {
				t.Error(err)
			}
		})
	}
}

// What does not stand for itself needs a signature.
func TestNotContentAddressed(t *testing.T) {
	archive := narOf("(", "type", "regular", "contents", "a", ")")
	cache, p := caCache(t, fmt.Sprintf("fixed:r:sha256:%x", sha256.Sum256(archive)), archive)
	info := cache[p.Hash()+narinfoSuffix]
	good := info.Data
	for name, edit := range map[string][2]string{
		"no CA":             {"CA: ", "X: "},
		"another hash":      {"CA: fixed:r:sha256:", "CA: fixed:r:sha256:" + strings.Repeat("0", 64) + "\nX: "},
		"another method":    {"CA: fixed:r:", "CA: fixed:"},
		"another algorithm": {"CA: fixed:r:sha256:", "CA: fixed:r:sha3:"},
		"git":               {"CA: fixed:r:", "CA: fixed:git:"},
		"references":        {"References:", "References: 0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1"},
		"itself":            {"References:", "References: " + string(p)},
		"another name":      {p.Abs(), p.Abs() + "y"},
	} {
		t.Run(name, func(t *testing.T) {
			if info.Data = bytes.Replace(good, []byte(edit[0]), []byte(edit[1]), 1); bytes.Equal(info.Data, good) {
				t.Fatal("nothing was edited")
			}
			if _, err := open(t, Options{FS: cache}).Find(t.Context(), p.Hash()); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

// Only the archive's sha256 and text make a path together with references.
func TestFlatWithReferences(t *testing.T) {
	for _, ca := range []string{"fixed:md5:4425hx5d1mc9y39llj4k4nm55i", "fixed:r:md5:4425hx5d1mc9y39llj4k4nm55i"} {
		a, err := parseCA(ca)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := a.path("x", []store.Path{"0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1"}); !errors.Is(err, errNotCA) {
			t.Errorf("%s: %s, %v", ca, p, err)
		}
	}
}

// What is read as a content address has a hash of the right size, and makes a path unless references forbid it.
func FuzzParseCA(f *testing.F) {
	f.Add("fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw")
	f.Add("fixed:md5:4425hx5d1mc9y39llj4k4nm55i")
	f.Add("text:sha256:01hjv13qzqx2i1knv86ja84lizkr7454qqrbqi2dazw75vdiwcpw")
	f.Add("fixed:git:sha1:iwjz551fyw0cxcjgf4l6c879zabd6wpm")
	f.Fuzz(func(t *testing.T, s string) {
		ca, err := parseCA(s)
		if err != nil {
			if !errors.Is(err, errNotCA) {
				t.Error(err)
			}
			return
		}
		again, err := parseCA(string(ca.method) + ca.algo + ":" + store.EncodeBase32(ca.hash))
		if h, ok := caHash(ca.algo); !ok || h.Size() != len(ca.hash) || err != nil || !slices.Equal(again.hash, ca.hash) {
			t.Errorf("%+v, then %+v, %v", ca, again, err)
		}
		if _, err := ca.path("x", nil); err != nil {
			t.Error(err)
		}
	})
}
