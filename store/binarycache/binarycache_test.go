package binarycache

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

// signer makes signatures of its own.
type signer struct {
	name string
	key  ed25519.PrivateKey
}

func newSigner(name string) signer {
	seed := sha256.Sum256([]byte(name))
	return signer{name, ed25519.NewKeyFromSeed(seed[:])}
}

func (s signer) public(t *testing.T) PublicKey {
	t.Helper()
	pub := s.key.Public().(ed25519.PublicKey)
	key, err := ParsePublicKey(s.name + ":" + base64.StdEncoding.EncodeToString(pub))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s signer) sign(n *narinfo) string {
	return s.name + ":" + base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, n.fingerprint()))
}

func compress(t testing.TB, c nar.Compression, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case nar.None:
		return b
	case nar.Gzip:
		w = gzip.NewWriter(&out)
	case nar.XZ:
		w, err = xz.WriterConfig{DictCap: 64 << 10}.NewWriter(&out) // a reader allocates as much
	case nar.Zstd:
		w, err = zstd.NewWriter(&out)
	case nar.Brotli:
		w = brotli.NewWriter(&out)
	case nar.LZ4:
		w = lz4.NewWriter(&out)
	case nar.LZMA:
		w, err = lzma.WriterConfig{DictCap: 64 << 10}.NewWriter(&out)
	default:
		t.Fatalf("no writer for %s", c)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const cacheInfo = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n"

// makeCache writes a binary cache of fixtures.
func makeCache(t *testing.T, c nar.Compression, by signer, objs ...storetest.Fixture) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{"nix-cache-info": {Data: []byte(cacheInfo)}}
	m := storetest.New()
	for _, f := range objs {
		p := m.Put(f)
		obj, err := m.Object(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := m.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		if err := storetest.WriteNAR(t.Context(), &archive, tr); err != nil {
			t.Fatal(err)
		}
		addNAR(t, out, c, by, obj, archive.Bytes())
	}
	return out
}

// addNAR adds a signed path to a cache; archive need not be what obj says.
func addNAR(t *testing.T, cache fstest.MapFS, c nar.Compression, by signer, obj *store.Object, archive []byte) {
	t.Helper()
	file := compress(t, c, archive)
	url := fmt.Sprintf("nar/%s.nar.%s", obj.Path.Hash(), c)
	cache[url] = &fstest.MapFile{Data: file}
	n := &narinfo{object: *obj, url: url, compression: c, fileHash: sha256.Sum256(file), fileSize: int64(len(file))}
	n.signatures = []string{"another:AAAA", by.sign(n)}
	cache[obj.Path.Hash()+narinfoSuffix] = &fstest.MapFile{Data: []byte(n.text())}
}

// text is the narinfo file of n.
func (n *narinfo) text() string {
	var b strings.Builder
	obj := &n.object
	fmt.Fprintf(&b, "StorePath: %s\nURL: %s\nCompression: %s\n", obj.Path.Abs(), n.url, n.compression)
	fmt.Fprintf(&b, "FileHash: %s\nFileSize: %d\nNarHash: %s\nNarSize: %d\nReferences:", n.fileHash, n.fileSize, obj.NarHash, obj.NarSize)
	for _, r := range obj.References {
		fmt.Fprintf(&b, " %s", r)
	}
	fmt.Fprintf(&b, "\nDeriver: %s\nSystem: ignored\nSystem: ignored\n", obj.Deriver)
	for _, s := range n.signatures {
		fmt.Fprintf(&b, "Sig: %s\n", s)
	}
	if obj.CA != "" {
		fmt.Fprintf(&b, "CA: %s\n", obj.CA)
	}
	return b.String()
}

// open opens a store with a spool of its own, and sees at the end that no archive is left in use.
func open(t *testing.T, opts Options) *Store {
	t.Helper()
	if opts.Spool == nil {
		opts.Spool = openSpool(t, SpoolOptions{})
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for range 1000 { // a plan of prefetches that has ended gives its archives back on a goroutine of its own
			if opts.Spool.files.Stats().InUse == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d archives are still in use", opts.Spool.files.Stats().InUse)
	})
	return s
}

func tinyCache(t *testing.T) (fs.FS, []PublicKey) {
	t.Helper()
	text, err := os.ReadFile("testdata/cache.pub")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePublicKey(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return os.DirFS("testdata/tiny-cache"), []PublicKey{key}
}

// writeDir copies a cache to disk.
func writeDir(t *testing.T, cache fstest.MapFS) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(cache)) {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, cache[name].Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// narOf joins the strings of an archive.
func narOf(list ...string) []byte {
	var b []byte
	for _, s := range append([]string{"nix-archive-1"}, list...) {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, -len(s)&7)...)
	}
	return b
}

// dirOf is the archive of a directory of empty files.
func dirOf(names ...string) []byte {
	list := []string{"(", "type", "directory"}
	for _, n := range names {
		list = append(list, "entry", "(", "name", n, "node", "(", "type", "regular", "contents", "", ")", ")")
	}
	return narOf(append(list, ")")...)
}
