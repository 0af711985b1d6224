package binarycache

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

// What bzip2 makes of the archive of a file "hello\n"; the standard library cannot write that.
const bzipped = "QlpoOTFBWSZTWRadevYAAB/ZgG3SAGIgACrl32AgAFRENTI0xNDANNCNKZDZJpoB5Q0VWcSSU1VKGAWRkATGAVHuJoCttWOV/doP6mDxLS3MgI8mQM7aCtGHGxdyRThQkBadevY="

func TestBzip2(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	f := storetest.NewFixture("a-1", storetest.Files{"": storetest.File("hello\n")})
	cache := makeCache(t, nar.None, newSigner("a"), f)
	info := cache[f.Path.Hash()+narinfoSuffix]
	n, err := parseNarinfo(string(info.Data), "")
	if err != nil {
		t.Fatal(err)
	}
	n.compression, n.fileHash, n.fileSize = nar.Bzip2, sha256.Sum256(b), int64(len(b))
	info.Data = []byte(n.text())
	cache[n.url].Data = b
	storetest.Check(t, open(t, Options{FS: cache, Trusted: true}), f.Path)
}

// spoiled opens the one path of a cache that is not right.
func spoiled(t *testing.T, cache fstest.MapFS, opts Options, p store.Path) error {
	t.Helper()
	opts.FS, opts.Trusted, opts.Spool = cache, true, openSpool(t, SpoolOptions{})
	s := open(t, opts)
	tr, err := s.Open(t.Context(), p)
	if err == nil {
		hash, _, herr := storetest.HashNAR(t.Context(), tr)
		obj, oerr := s.Object(t.Context(), p)
		if herr != nil || oerr != nil || hash != obj.NarHash {
			t.Errorf("opened, but %v, %v", herr, oerr)
		}
		tr.Close()
		return nil
	}
	if !strings.Contains(err.Error(), string(p)) {
		t.Errorf("error does not name the path: %v", err)
	}
	if left, err := os.ReadDir(opts.Spool.files.Dir); err != nil || len(left) > 0 {
		t.Errorf("something is kept: %v, %v", left, err)
	}
	return err
}

// A flipped byte in the archive's file is noticed wherever it changes the contents.
func TestFlippedByte(t *testing.T) {
	f := storetest.NewFixture("a-1", storetest.Files{"f": storetest.Exec("contents"), "l": storetest.Link("f")})
	for _, c := range []nar.Compression{nar.None, nar.XZ, nar.Zstd, nar.Gzip, nar.Brotli} {
		cache := makeCache(t, c, newSigner("a"), f)
		info := cache[f.Path.Hash()+narinfoSuffix]
		n, err := parseNarinfo(string(info.Data), "")
		if err != nil {
			t.Fatal(err)
		}
		file := cache[n.url]
		good := file.Data
		for i := range good {
			file.Data = bytes.Clone(good)
			file.Data[i] ^= 0x10
			if err := spoiled(t, cache, Options{}, f.Path); err != nil && !errors.Is(err, ErrCorrupt) || err == nil && c == nar.None {
				t.Errorf("%s, byte %d: %v", c, i, err)
			}
		}
	}
}

func TestSpoiledArchive(t *testing.T) {
	f := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("contents")})
	for _, tc := range []struct {
		name string
		opts Options
		edit func(n *narinfo, file *fstest.MapFile)
		want error
		text string
	}{
		{"truncated", Options{}, func(_ *narinfo, f *fstest.MapFile) { f.Data = f.Data[:len(f.Data)-1] }, ErrCorrupt, ""},
		{"bytes after it", Options{}, func(_ *narinfo, f *fstest.MapFile) { f.Data = append(f.Data, 0) }, ErrCorrupt, ""},
		{"empty", Options{}, func(_ *narinfo, f *fstest.MapFile) { f.Data = nil }, ErrCorrupt, ""},
		{"smaller NarSize", Options{}, func(n *narinfo, _ *fstest.MapFile) { n.object.NarSize-- }, ErrCorrupt, "larger than"},
		{"larger NarSize", Options{}, func(n *narinfo, _ *fstest.MapFile) { n.object.NarSize++ }, ErrCorrupt, "NarSize"},
		{"NarHash", Options{}, func(n *narinfo, _ *fstest.MapFile) { n.object.NarHash[0]++ }, ErrCorrupt, "NarHash"},
		{"another compression", Options{}, func(n *narinfo, _ *fstest.MapFile) { n.compression = nar.Gzip }, ErrCorrupt, "gzip"},
		{"too large", Options{MaxNAR: 10}, func(*narinfo, *fstest.MapFile) {}, store.ErrTooLarge, "at most 10"},
		{"not there", Options{}, func(n *narinfo, _ *fstest.MapFile) { n.url = "nar/none" }, fs.ErrNotExist, "nar/none"},
		{"a folder", Options{}, func(n *narinfo, _ *fstest.MapFile) { n.url = "nar" }, nil, "not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cache := makeCache(t, nar.Zstd, newSigner("a"), f)
			info := cache[f.Path.Hash()+narinfoSuffix]
			n, err := parseNarinfo(string(info.Data), "")
			if err != nil {
				t.Fatal(err)
			}
			tc.edit(n, cache[n.url])
			info.Data = []byte(n.text())
			err = spoiled(t, cache, tc.opts, f.Path)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%v; want %v, %q", err, tc.want, tc.text)
			}
		})
	}
}

// A hash that is right does not make an archive one.
func TestMalformedArchive(t *testing.T) {
	f := storetest.NewFixture("a-1", storetest.Files{})
	cache := makeCache(t, nar.None, newSigner("a"), f)
	archive := dirOf("..")
	obj := &store.Object{Entry: f.Entry, NarHash: sha256.Sum256(archive), NarSize: int64(len(archive))}
	addNAR(t, cache, nar.XZ, newSigner("a"), obj, archive)
	if err := spoiled(t, cache, Options{}, f.Path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `".."`) {
		t.Error(err)
	}
}
