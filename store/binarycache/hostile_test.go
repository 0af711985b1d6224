package binarycache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

// liar is a remote cache of one path, and what it may lie about.
type liar struct {
	*fakeCache
	by   signer
	path store.Path
	nar  []byte
	info *narinfo // to be written by done
	text string   // in place of info's, if not ""
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	f := storetest.NewFixture("victim-1", storetest.Files{"f": storetest.File("contents"), "g": storetest.File("more")})
	l := &liar{by: newSigner("test-1"), path: f.Path}
	l.fakeCache = newFake(makeCache(t, nar.XZ, l.by, f))
	n, err := parseNarinfo(string(l.file().Data), "")
	if err != nil {
		t.Fatal(err)
	}
	l.info = n
	r, err := n.compression.Open(bytes.NewReader(l.files[n.url].Data), n.object.NarSize)
	if err != nil {
		t.Fatal(err)
	}
	if l.nar, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *liar) file() *fstest.MapFile { return l.files[l.path.Hash()+narinfoSuffix] }

// stores puts bytes in the archive's place. The narinfo tells their true size and hash, which nobody signs.
func (l *liar) stores(b []byte) {
	l.files[l.info.url].Data = b
	l.info.fileHash, l.info.fileSize = sha256.Sum256(b), int64(len(b))
}

// signs makes the narinfo one of this archive, with a good signature: the key's owner errs.
func (l *liar) signs(t *testing.T, archive []byte) {
	l.stores(compress(t, nar.XZ, archive))
	l.info.object.NarHash, l.info.object.NarSize = sha256.Sum256(archive), int64(len(archive))
	l.info.signatures = []string{l.by.sign(l.info)}
}

// endless yields what is in front and then zeros for ever.
func endless(r io.Reader) io.Reader { return io.MultiReader(r, zeros{}) }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// Whatever a remote cache lies about, the path is not opened, the error says which path, and nothing is left of it.
func TestLies(t *testing.T) {
	for _, tc := range []struct {
		name string
		lie  func(t *testing.T, l *liar)
		want error
	}{
		{"unsigned", func(_ *testing.T, l *liar) { l.info.signatures = nil }, fs.ErrNotExist},
		{"signed by another key", func(_ *testing.T, l *liar) { l.info.signatures = []string{newSigner("other-1").sign(l.info)} }, fs.ErrNotExist},
		{"another path's signature", func(t *testing.T, l *liar) {
			n := *l.info
			n.object.Path = storetest.NewFixture("other-1", storetest.Files{}).Path
			l.info.signatures = []string{l.by.sign(&n)}
		}, fs.ErrNotExist},
		{"references", func(_ *testing.T, l *liar) {
			l.info.object.References = append(l.info.object.References, "0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1")
		}, fs.ErrNotExist},
		{"NarHash", func(_ *testing.T, l *liar) { l.info.object.NarHash[0]++ }, fs.ErrNotExist},
		{"NarSize", func(_ *testing.T, l *liar) { l.info.object.NarSize++ }, fs.ErrNotExist},
		{"another path's narinfo", func(_ *testing.T, l *liar) {
			l.info.object.Path = storetest.NewFixture("other-1", storetest.Files{}).Path
		}, ErrCorrupt},
		{"another store directory", func(_ *testing.T, l *liar) { l.files[cacheInfoName].Data = []byte("StoreDir: /gnu/store\n") }, errors.ErrUnsupported},
		{"URL elsewhere", func(_ *testing.T, l *liar) { l.info.url = "https://evil.example.org/x.nar.xz" }, ErrCorrupt},
		{"URL upwards", func(_ *testing.T, l *liar) { l.info.url = "../x.nar.xz" }, ErrCorrupt},
		{"absurd size", func(_ *testing.T, l *liar) {
			l.info.object.NarSize = math.MaxInt64
			l.info.signatures = []string{l.by.sign(l.info)}
		}, store.ErrTooLarge},
		{"endless narinfo", func(_ *testing.T, l *liar) { l.text = strings.Repeat("Sig: a:b\n", maxNarinfo) }, ErrCorrupt},
		{"narinfo cut", func(_ *testing.T, l *liar) { l.text = l.info.text(); l.text = l.text[:len(l.text)-3] }, ErrCorrupt},

		{"truncated", func(_ *testing.T, l *liar) { b := l.files[l.info.url].Data; l.stores(b[:len(b)-1]) }, ErrCorrupt},
		{"connection cut", func(_ *testing.T, l *liar) { l.open = func(r io.Reader) io.Reader { return io.LimitReader(r, 60) } }, ErrCorrupt},
		{"longer", func(t *testing.T, l *liar) { l.stores(compress(t, nar.XZ, append(l.nar, 0))) }, ErrCorrupt},
		{"other contents", func(t *testing.T, l *liar) {
			l.stores(compress(t, nar.XZ, bytes.Replace(l.nar, []byte("more"), []byte("MORE"), 1)))
		}, ErrCorrupt},
		{"xz bomb", func(t *testing.T, l *liar) { l.stores(compress(t, nar.XZ, make([]byte, 4<<20))) }, ErrCorrupt},
		{"zstd bomb", func(t *testing.T, l *liar) {
			l.info.compression = nar.Zstd
			l.stores(compress(t, nar.Zstd, make([]byte, 4<<20)))
		}, ErrCorrupt},
		{"brotli bomb", func(t *testing.T, l *liar) {
			l.info.compression = nar.Brotli
			l.stores(compress(t, nar.Brotli, append(l.nar, make([]byte, 4<<20)...)))
		}, ErrCorrupt},
		{"endless", func(_ *testing.T, l *liar) { l.fakeCache.open = endless }, ErrCorrupt},
		{"endless, size not told", func(_ *testing.T, l *liar) {
			l.info.fileSize, l.info.fileHash = 0, store.Hash{}
			l.fakeCache.open = endless
		}, ErrCorrupt},
		{"404", func(_ *testing.T, l *liar) { delete(l.files, l.info.url) }, fs.ErrNotExist},
		{"unreachable archive", func(_ *testing.T, l *liar) {
			l.fakeCache.open = func(io.Reader) io.Reader { return failing{store.ErrUnavailable} }
		}, store.ErrUnavailable},

		{"a name that leads out", func(t *testing.T, l *liar) { l.signs(t, dirOf("..")) }, ErrCorrupt},
		{"a name with a slash", func(t *testing.T, l *liar) { l.signs(t, dirOf("a/b")) }, ErrCorrupt},
		{"the same name twice", func(t *testing.T, l *liar) { l.signs(t, dirOf("a", "a")) }, ErrCorrupt},
		{"names out of order", func(t *testing.T, l *liar) { l.signs(t, dirOf("b", "a")) }, ErrCorrupt},
		{"signed garbage", func(t *testing.T, l *liar) { l.signs(t, []byte("garbage!")) }, ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLiar(t)
			tc.lie(t, l)
			if l.text == "" {
				l.text = l.info.text()
			}
			l.file().Data = []byte(l.text)
			s := open(t, Options{Remote: l, Name: "https://cache.example.org", Keys: []PublicKey{l.by.public(t)}})
			tr, err := s.Open(t.Context(), l.path)
			if err == nil {
				tr.Close()
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), string(l.path)) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if left, err := os.ReadDir(s.spool.files.Dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
	t.Run("no lie", func(t *testing.T) {
		l := newLiar(t)
		l.signs(t, l.nar)
		l.file().Data = []byte(l.info.text())
		storetest.Check(t, open(t, Options{Remote: l, Keys: []PublicKey{l.by.public(t)}}), l.path)
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
