package layer_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// largeStore has one path of several blocks, half of it noise.
func largeStore(t *testing.T) (*storetest.Memory, layer.Recipe) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, 7))
	noise := make([]byte, 3<<20)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	m := storetest.New()
	p := m.Add("large-1.0", storetest.Files{
		"noise": storetest.File(string(noise)),
		"text":  storetest.File(strings.Repeat("the same line again and again\n", 200_000)),
		"small": storetest.File("small"),
	})
	return m, recipe(t, m, p)
}

func decode(t *testing.T, e layer.Encoding, b []byte) []byte {
	t.Helper()
	var r io.Reader
	var err error
	if e == layer.Gzip {
		r, err = gzip.NewReader(bytes.NewReader(b))
	} else {
		r, err = zstd.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEncodingsAreFrozen holds the bytes of each encoding, on one processor and on several. A compressor that gives
// others is a new encoding, under a new name.
func TestEncodingsAreFrozen(t *testing.T) {
	frozen := map[layer.Encoding]string{
		layer.Gzip: "sha256:02f5f66a60fc42f619e080f15fbaa6fdb407baf0cbfde6c13bc15c58e6aace2b",
		layer.Zstd: "sha256:2bee6ff4c616e6c4798fcbdad9959040815d5d5d57453940657fa48db99600b2",
	}
	for name, e := range layer.EncodingsByName() {
		if e.MediaTypes().OCI == "" {
			t.Errorf("%s has no media type", name)
		}
		if e != layer.Tar && frozen[e] == "" {
			t.Errorf("the bytes of %s are not frozen here", name)
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, cores := range []int{1, 4} {
		runtime.GOMAXPROCS(cores)
		for e, want := range frozen {
			m, r := largeStore(t)
			plain := whole(t, mustOpen(t, newMaker(t, m), r))
			r.Encoding = e
			maker := newMaker(t, m)
			info := describe(t, maker, r)
			if info.Digest.String() != want {
				t.Errorf("%s on %d processors is %s, not %s", e, cores, info.Digest, want)
			}
			l, err := maker.Open(ctx, r, info.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(decode(t, e, whole(t, l)), plain) || info.Tar != int64(len(plain)) {
				t.Errorf("%s holds other bytes than the tar", e)
			}
		}
	}
}

// TestEncodedRanges: with a cache of blobs, with one too small for any, and without one.
func TestEncodedRanges(t *testing.T) {
	for name, most := range map[string]int64{"cached": 1 << 30, "too small": 100, "none": -1} {
		t.Run(name, func(t *testing.T) {
			m, r := largeStore(t)
			r.Encoding = layer.Gzip
			maker := newMaker(t, m)
			if most >= 0 {
				maker.Blobs = mustBlobs(t, t.TempDir(), most)
			}
			info := describe(t, maker, r)
			l, err := maker.Open(ctx, r, info.Digest)
			if err != nil {
				t.Fatal(err)
			}
			all := whole(t, l)
			for _, c := range [][2]int64{{0, 1}, {0, l.Size()}, {1 << 20, 1 << 20}, {l.Size() - 5, 5}, {100, 0}} {
				var b bytes.Buffer
				if err := l.WriteRange(ctx, &b, c[0], c[1]); err != nil || !bytes.Equal(b.Bytes(), all[c[0]:c[0]+c[1]]) {
					t.Errorf("%d+%d: %d bytes, %v", c[0], c[1], b.Len(), err)
				}
			}
		})
	}
}

func mustBlobs(t *testing.T, dir string, most int64) *layer.Blobs {
	t.Helper()
	b, err := layer.OpenBlobs(dir, most, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBlobIsMadeAgain: after it was damaged, or cleared away, between two runs.
func TestBlobIsMadeAgain(t *testing.T) {
	for name, harm := range map[string]func(file string) error{
		"removed":   os.Remove,
		"truncated": func(f string) error { return os.Truncate(f, 100) },
		"flipped": func(f string) error {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 1
			return os.WriteFile(f, b, 0o600)
		},
		"untouched": func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m, r := largeStore(t)
			r.Encoding = layer.Zstd
			maker := newMaker(t, m)
			maker.Blobs = mustBlobs(t, dir, 1<<30)
			info := describe(t, maker, r)
			if err := os.WriteFile(filepath.Join(dir, "incomplete-1"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := harm(filepath.Join(dir, info.Digest.Hex)); err != nil {
				t.Fatal(err)
			}
			maker.Blobs = mustBlobs(t, dir, 1<<30)
			l, err := maker.Open(ctx, r, info.Digest)
			if err != nil {
				t.Fatal(err)
			}
			decode(t, layer.Zstd, whole(t, l))
			files, err := os.ReadDir(dir)
			if err != nil || len(files) != 1 || files[0].Name() != info.Digest.Hex {
				t.Errorf("directory holds %v, %v", files, err)
			}
		})
	}
}

// TestEncodingTable: the names, which users and records have, the media types and the first bytes of each encoding.
func TestEncodingTable(t *testing.T) {
	encodings := layer.EncodingsByName()
	if len(encodings) != 3 {
		t.Errorf("%v", encodings)
	}
	for name, want := range map[string]struct {
		record      string
		oci, docker types.MediaType
		packed      layer.Compression
	}{
		"tar":  {"", "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar", ""},
		"gzip": {"gzip1", "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"},
		"zstd": {"zstd1", "application/vnd.oci.image.layer.v1.tar+zstd", "", "zstd"},
	} {
		e := encodings[name]
		for _, r := range []layer.Recipe{{Encoding: e}, {Packed: want.packed}} {
			if string(e) != want.record || r.MediaTypes() != (layer.MediaTypes{OCI: want.oci, Docker: want.docker}) || e.MediaTypes() != r.MediaTypes() {
				t.Errorf("%s: %q, %+v, %+v", name, e, r.MediaTypes(), e.MediaTypes())
			}
		}
		if e == layer.Tar {
			continue
		}
		m, r := noiseStore(t)
		r.Encoding = e
		maker := newMaker(t, m)
		l, err := maker.Open(ctx, r, describe(t, maker, r).Digest)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := layer.CompressionOf(whole(t, l)[:6]); got != want.packed || err != nil {
			t.Errorf("%s starts as %q, %v", name, got, err)
		}
	}
	if mt := layer.Encoding("gzip0").MediaTypes(); mt != (layer.MediaTypes{}) {
		t.Errorf("an unknown encoding has the media types %+v", mt)
	}
}

func TestUnknownEncoding(t *testing.T) {
	m, odd, _ := oddStore()
	r := recipe(t, m, odd)
	r.Encoding = "gzip0"
	if _, err := newMaker(t, m).Describe(ctx, r); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// TestEncodedLayerOfChangedFiles: what was encoded before may not stand for what is there now.
func TestEncodedLayerOfChangedFiles(t *testing.T) {
	m, odd, _ := oddStore()
	r := recipe(t, m, odd)
	r.Encoding = layer.Gzip
	first := newMaker(t, m)
	info := describe(t, first, r)
	m.Change(odd, "sizes/512", strings.Repeat("t", 512))
	next := newMaker(t, m)
	next.Cache = first.Cache
	if _, err := next.Open(ctx, r, info.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
