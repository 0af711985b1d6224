package binarycache

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

func TestContract(t *testing.T) {
	by := newSigner("test-1")
	for _, c := range []nar.Compression{nar.None, nar.XZ, nar.Zstd, nar.Gzip, nar.Brotli, nar.LZ4, nar.LZMA} {
		t.Run(string(c), func(t *testing.T) {
			storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
				return open(t, Options{FS: makeCache(t, c, by, objs...), Keys: []PublicKey{by.public(t)}})
			})
		})
	}
	t.Run("directory, nothing kept", func(t *testing.T) {
		storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
			return open(t, Options{FS: os.DirFS(writeDir(t, makeCache(t, nar.Zstd, by, objs...))), Trusted: true, Spool: openSpool(t, SpoolOptions{Size: -1})})
		})
	})
}

// A cache as `nix copy` wrote and signed it.
func TestTinyCache(t *testing.T) {
	fsys, keys := tinyCache(t)
	s := open(t, Options{FS: fsys, Keys: keys})
	storetest.Check(t, s)
	n := 0
	for e, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Deriver == "" {
			t.Errorf("%s has no deriver", e.Path)
		}
		if _, err := store.Closure(t.Context(), s, e.Path); err != nil {
			t.Error(err)
		}
	}
	if n != 18 {
		t.Errorf("%d paths are listed, want 18", n)
	}
}

func TestOpen(t *testing.T) {
	for _, tc := range []struct {
		name string
		fs   fstest.MapFS
		want error
	}{
		{"no cache", fstest.MapFS{}, fs.ErrNotExist},
		{"another store", fstest.MapFS{"nix-cache-info": {Data: []byte("StoreDir: /gnu/store\n")}}, errors.ErrUnsupported},
		{"too large", fstest.MapFS{"nix-cache-info": {Data: bytes.Repeat([]byte("a: b\n"), maxNarinfo/5+1)}}, ErrCorrupt},
		{"empty", fstest.MapFS{"nix-cache-info": {}}, nil},
	} {
		s, err := Open(Options{FS: tc.fs, Trusted: true})
		if !errors.Is(err, tc.want) || (s != nil) != (tc.want == nil) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if s != nil {
			s.Close()
		}
	}
}

func TestSignatures(t *testing.T) {
	by, other := newSigner("test-1"), newSigner("other-1")
	f := storetest.NewFixture("x-1", storetest.Files{"f": storetest.File("x")})
	info := f.Path.Hash() + narinfoSuffix
	imposter := newSigner("imposter")
	imposter.name = by.name
	renamed := by
	renamed.name = other.name
	both := []PublicKey{other.public(t), by.public(t)}
	for _, tc := range []struct {
		name   string
		signer signer
		keys   []PublicKey
		edit   [2]string
		valid  bool
	}{
		{name: "signed", signer: by, keys: both, valid: true},
		{name: "no keys", signer: by},
		{name: "another key", signer: other, keys: both[1:]},
		{name: "another key of the same name", signer: imposter, keys: both},
		{name: "the key under another name", signer: renamed, keys: both},
		{name: "another size", signer: by, keys: both, edit: [2]string{"NarSize: ", "NarSize: 1"}},
		{name: "another hash", signer: by, keys: both, edit: [2]string{"NarHash: sha256:", "NarHash: " + store.Hash{}.String() + "\nOld: "}},
		{name: "more references", signer: by, keys: both, edit: [2]string{"References:", "References: " + string(f.Path)}},
		{name: "no signature", signer: by, keys: both, edit: [2]string{"Sig: ", "X-Sig: "}},
		{name: "another file size", signer: by, keys: both, edit: [2]string{"FileSize: ", "FileSize: 1"}, valid: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cache := makeCache(t, nar.None, tc.signer, f)
			text := string(cache[info].Data)
			if tc.edit[0] != "" {
				text = strings.ReplaceAll(text, tc.edit[0], tc.edit[1])
			}
			cache[info].Data = []byte(text)
			s := open(t, Options{FS: cache, Keys: tc.keys})
			listed := 0
			for _, err := range s.List(t.Context()) {
				if listed++; err != nil {
					t.Error(err)
				}
			}
			_, err := s.Object(t.Context(), f.Path)
			if tc.valid != (err == nil) || tc.valid != (listed == 1) {
				t.Fatalf("listed %d times; %v", listed, err)
			}
			if !tc.valid && (!errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "not signed by a trusted key")) {
				t.Error(err)
			}
		})
	}
}

func TestAnotherName(t *testing.T) {
	f := storetest.NewFixture("x-1", storetest.Files{})
	s := open(t, Options{FS: makeCache(t, nar.None, newSigner("a"), f), Trusted: true})
	p := store.Path(f.Path.Hash() + "-y-1")
	if _, err := s.Object(t.Context(), p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("object: %v", err)
	}
	if _, err := s.Open(t.Context(), p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
}

// What cannot be used is left out of the list, with a line in the log; the rest is there.
func TestListLeavesOut(t *testing.T) {
	a := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	b := storetest.NewFixture("b-1", storetest.Files{"f": storetest.File("b")})
	for name, spoil := range map[string]func(fstest.MapFS, *fstest.MapFile){
		"truncated": func(_ fstest.MapFS, f *fstest.MapFile) { f.Data = f.Data[:len(f.Data)-1] },
		"misnamed":  func(c fstest.MapFS, f *fstest.MapFile) { f.Data = c[b.Path.Hash()+narinfoSuffix].Data },
		"compression": func(_ fstest.MapFS, f *fstest.MapFile) {
			f.Data = bytes.Replace(f.Data, []byte("Compression: none"), []byte("Compression: lzip"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cache := makeCache(t, nar.None, newSigner("a"), a, b)
			spoil(cache, cache[a.Path.Hash()+narinfoSuffix])
			var log bytes.Buffer
			s := open(t, Options{FS: cache, Trusted: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
			for e, err := range s.List(t.Context()) {
				if err != nil || e.Path != b.Path {
					t.Errorf("%v, %v", e, err)
				}
			}
			if !strings.Contains(log.String(), a.Path.Hash()) {
				t.Errorf("log: %q", log.String())
			}
			if _, err := s.Object(t.Context(), a.Path); err == nil || errors.Is(err, fs.ErrInvalid) {
				t.Errorf("object: %v", err)
			}
		})
	}
}

func TestState(t *testing.T) {
	a := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	b := storetest.NewFixture("b-1", storetest.Files{"f": storetest.File("b")})
	cache := makeCache(t, nar.XZ, newSigner("a"), a)
	root := writeDir(t, cache)
	s := open(t, Options{FS: os.DirFS(root), Trusted: true})
	seen := make(map[string]bool)
	state := func() string {
		st, err := s.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	seen[state()] = true
	more := makeCache(t, nar.XZ, newSigner("a"), b)
	for _, name := range []string{"nar/" + b.Path.Hash() + ".nar.xz", b.Path.Hash() + narinfoSuffix} {
		if err := os.WriteFile(filepath.Join(root, name), more[name].Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if seen[state()] {
		t.Error("same state after a path was added")
	}
	seen[state()] = true
	if p, err := s.Find(t.Context(), b.Path.Hash()); p != b.Path {
		t.Errorf("find: %s, %v", p, err)
	}
	if err := os.Remove(filepath.Join(root, a.Path.Hash()+narinfoSuffix)); err != nil {
		t.Fatal(err)
	}
	if seen[state()] {
		t.Error("same state after a path was removed")
	}
	if _, err := s.Object(t.Context(), a.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("object: %v", err)
	}
}

// A directory whose time may still stand for another content is read again, whatever its time.
func TestStateOfYoungDirectory(t *testing.T) {
	a := storetest.NewFixture("a-1", storetest.Files{})
	root := writeDir(t, makeCache(t, nar.None, newSigner("a"), a))
	s := open(t, Options{FS: os.DirFS(root), Trusted: true})
	later := time.Now().Add(time.Hour)
	state := func() string {
		if err := os.Chtimes(root, later, later); err != nil {
			t.Fatal(err)
		}
		st, err := s.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	before := state()
	if again := state(); again != before {
		t.Errorf("state was %q, is %q", before, again)
	}
	if err := os.Remove(filepath.Join(root, a.Path.Hash()+narinfoSuffix)); err != nil {
		t.Fatal(err)
	}
	if after := state(); after == before {
		t.Error("same state after a path was removed")
	}
}

func TestChangedNarinfo(t *testing.T) {
	f := storetest.NewFixture("a-1", storetest.Files{})
	cache := makeCache(t, nar.None, newSigner("a"), f)
	s := open(t, Options{FS: cache, Trusted: true})
	if obj, err := s.Object(t.Context(), f.Path); err != nil || obj.CA != "" {
		t.Fatalf("%+v, %v", obj, err)
	}
	info := cache[f.Path.Hash()+narinfoSuffix]
	info.Data = append(info.Data, "CA: fixed:x\n"...)
	if obj, err := s.Object(t.Context(), f.Path); err != nil || obj.CA != "fixed:x" {
		t.Errorf("%+v, %v", obj, err)
	}
}

// What is remembered of narinfo files has a bound in bytes.
func TestRemembered(t *testing.T) {
	var all []storetest.Fixture
	for i := range 10 {
		all = append(all, storetest.NewFixture(fmt.Sprintf("a-%d", i), storetest.Files{}))
	}
	x := newFiles(makeCache(t, nar.None, newSigner("a"), all...), &trust{all: true})
	x.parsed.Max = 6000
	for _, f := range all {
		if _, err := x.narinfo(t.Context(), f.Path.Hash()); err != nil {
			t.Fatal(err)
		}
	}
	if w := x.parsed.Weight(); w > x.parsed.Max || w < x.parsed.Max/2 {
		t.Errorf("%d bytes, at most %d are allowed", w, x.parsed.Max)
	}
}

// TestInfoByHand: nix-cache-info is read as Nix reads it: lines without a colon are skipped, values trimmed.
func TestInfoByHand(t *testing.T) {
	by, f := newSigner("test-1"), storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	for text, kind := range map[string]error{
		cacheInfo: nil, "": nil, // as today
		"StoreDir: /nix/store":                           nil,
		"\nStoreDir: /nix/store\n\nPriority: 40\n":       nil,
		"StoreDir: /nix/store\r\nWantMassQuery: 1\r\n":   nil,
		"StoreDir:/nix/store\n":                          nil,
		"StoreDir:   /nix/store \t\n":                    nil,
		"# by hand\nStoreDir: /nix/store\nPriority\n":    nil,
		"<!DOCTYPE html>\n<html>\n<p>a cache: yes</p>\n": nil,
		"StoreDir: /gnu/store\n":                         errors.ErrUnsupported, // as today
		"StoreDir: /gnu/store":                           errors.ErrUnsupported,
		"\r\nStoreDir: /gnu/store\r\n":                   errors.ErrUnsupported,
		"<html>\nStoreDir:  /gnu/store \n":               errors.ErrUnsupported,
	} {
		cache := makeCache(t, nar.XZ, by, f)
		cache[cacheInfoName] = &fstest.MapFile{Data: []byte(text)}
		keys, spool := []PublicKey{by.public(t)}, openSpool(t, SpoolOptions{})
		s, err := Open(Options{FS: cache, Keys: keys, Spool: spool})
		if !errors.Is(err, kind) || (err == nil) != (kind == nil) {
			t.Errorf("%q in a directory: %v", text, err)
		}
		if err == nil {
			_, err := s.Find(t.Context(), f.Path.Hash())
			if err = errors.Join(err, s.Close()); err != nil {
				t.Errorf("%q in a directory: %v", text, err)
			}
		}
		r := open(t, Options{Remote: newFake(cache), Name: "https://cache.example.org", Keys: keys})
		if _, err := r.Find(t.Context(), f.Path.Hash()); (err == nil) != (kind == nil) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q on a server: %v", text, err)
		}
	}
}

// TestWrongFileHash: a cache that transcodes its archives, and leaves FileHash and FileSize as they were, is served,
// and told of once: what is signed is the NarHash. Other contents stay refused.
func TestWrongFileHash(t *testing.T) {
	by := newSigner("test-1")
	a, b := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")}), storetest.NewFixture("b-1", storetest.Files{"f": storetest.File("b")})
	for name, edit := range map[string][2]string{
		"nothing": {"", ""}, "no size": {"FileSize", "Ignored"}, // as today
		"size 1": {"FileSize: ", "FileSize: 1\nIgnored: "}, "too large": {"FileSize: ", "FileSize: 9"}, "hash": {"FileHash: sha256:", "FileHash: sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\nIgnored: "},
	} {
		for _, where := range []string{"directory", "server"} {
			cache := makeCache(t, nar.XZ, by, a, b)
			for _, f := range []storetest.Fixture{a, b} {
				info := cache[f.Path.Hash()+narinfoSuffix]
				info.Data = []byte(strings.Replace(string(info.Data), edit[0], edit[1], 1))
			}
			var log bytes.Buffer
			opts := Options{FS: cache, Keys: []PublicKey{by.public(t)}, Log: slog.New(slog.NewTextHandler(&log, nil))}
			if where == "server" {
				opts.FS, opts.Remote, opts.Name = nil, newFake(cache), "https://cache.example.org"
			}
			s := open(t, opts)
			for _, f := range []storetest.Fixture{a, b} {
				tree, err := s.Open(t.Context(), f.Path)
				if err != nil {
					t.Errorf("%s, %s: %v", name, where, err)
					continue
				}
				o, err := s.Object(t.Context(), f.Path)
				if err != nil {
					t.Fatal(err)
				}
				if hash, _, err := storetest.HashNAR(t.Context(), tree); err != nil || hash != o.NarHash {
					t.Errorf("%s, %s: %v, files make %s, not %s", name, where, err, hash, o.NarHash)
				}
				tree.Close()
			}
			if n, want := strings.Count(log.String(), "level=WARN"), map[bool]int{true: 0, false: 1}[name == "nothing" || name == "no size"]; n != want {
				t.Errorf("%s, %s: %d warnings, not %d: %s", name, where, n, want, &log)
			}
		}
	}
	cache := makeCache(t, nar.XZ, by, a, b)
	cache[valueOf(cache, a, "URL")].Data = cache[valueOf(cache, b, "URL")].Data
	if tree, err := open(t, Options{FS: cache, Keys: []PublicKey{by.public(t)}}).Open(t.Context(), a.Path); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the archive of another path: %v, %v", tree, err)
	}
}

// valueOf is what the narinfo of a fixture says under a key.
func valueOf(cache fstest.MapFS, f storetest.Fixture, key string) string {
	_, rest, _ := strings.Cut(string(cache[f.Path.Hash()+narinfoSuffix].Data), key+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// faulty is a cache on disk some of whose files cannot be read.
type faulty struct {
	fstest.MapFS
	bad func(name string) error
}

func (f faulty) Open(name string) (fs.File, error) {
	if err := f.bad(name); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f.MapFS.Open(name)
}

func (f faulty) Stat(name string) (fs.FileInfo, error) { return fs.Stat(f.MapFS, name) }

// A file that cannot be read is a matter of its path alone: nobody is denied anything, others are found and listed.
func TestUnreadableFiles(t *testing.T) {
	good, bad := storetest.NewFixture("good-1", storetest.Files{"f": storetest.File("a")}), storetest.NewFixture("bad-1", storetest.Files{"f": storetest.File("b")})
	for name, tc := range map[string]struct {
		err  error
		list error // nil where the listing leaves the path out
	}{"forbidden": {syscall.EACCES, nil}, "disk": {syscall.EIO, store.ErrUnavailable}, "loop": {syscall.ELOOP, store.ErrUnavailable}} {
		t.Run(name, func(t *testing.T) {
			cache := faulty{makeCache(t, nar.XZ, newSigner("test-1"), good, bad), func(name string) error {
				if name == bad.Path.Hash()+narinfoSuffix {
					return tc.err
				}
				return nil
			}}
			s := open(t, Options{FS: cache, Trusted: true})
			if _, err := s.Find(t.Context(), bad.Path.Hash()); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the narinfo: %v", err)
			}
			useTree(t, s, good.Path)
			var listed []store.Path
			var failed error
			for e, err := range s.List(t.Context()) {
				if err != nil {
					failed = err
				} else {
					listed = append(listed, e.Path)
				}
			}
			if !errors.Is(failed, tc.list) || failed == nil && (len(listed) != 1 || listed[0] != good.Path) {
				t.Errorf("listed %v, %v", listed, failed)
			}
		})
	}
	cache := faulty{makeCache(t, nar.XZ, newSigner("test-1"), good), func(name string) error {
		if strings.HasPrefix(name, "nar/") || strings.HasSuffix(name, narinfoSuffix) {
			return syscall.EACCES
		}
		return nil
	}}
	s := open(t, Options{FS: cache, Trusted: true})
	for _, err := range s.List(t.Context()) {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("listed although no narinfo can be read: %v", err)
		}
	}
	cache.bad = func(name string) error {
		if strings.HasPrefix(name, "nar/") {
			return syscall.EACCES
		}
		return nil
	}
	if _, err := open(t, Options{FS: cache, Trusted: true}).Open(t.Context(), good.Path); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the archive: %v", err)
	}
}
