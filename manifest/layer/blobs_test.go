package layer_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// noiseStore has one path that no encoding makes small.
func noiseStore(t *testing.T) (*storetest.Memory, layer.Recipe) {
	t.Helper()
	noise, rnd := make([]byte, 300<<10), rand.New(rand.NewPCG(7, 7))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	m := storetest.New()
	return m, recipe(t, m, m.Add("noise-1.0", storetest.Files{"noise": storetest.File(string(noise))}))
}

// A kept file that is harmed is made again once, and no wrong byte of it is sent. A layer that cannot be kept is sent all the same,
// and encoded no oftener than it must.
func TestKeptBlobIsHarmed(t *testing.T) {
	for _, e := range []layer.Encoding{layer.Gzip, layer.Zstd} {
		for name, c := range map[string]struct {
			harm  func(dir, file string, want []byte) error
			whole int64 // times that the layer is encoded for the cache, at most, for three answers
		}{
			"flipped":               {func(_, f string, want []byte) error { return overwrite(f, 200<<10, []byte{want[200<<10] ^ 1}) }, 1},
			"its directory removed": {func(dir, _ string, _ []byte) error { return os.RemoveAll(dir) }, 1},
			"its directory a file": {func(dir, _ string, _ []byte) error {
				return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
			}, 0},
			"a full directory in its place": {func(_, f string, _ []byte) error {
				return errors.Join(os.Remove(f), os.MkdirAll(filepath.Join(f, "x"), 0o700))
			}, 3},
		} {
			t.Run(string(e)+" "+name, func(t *testing.T) {
				m, r := noiseStore(t)
				r.Encoding = e
				maker, dir := newMaker(t, m), filepath.Join(t.TempDir(), "blobs")
				var encoded atomic.Int64
				maker.Progress = func(n int64) { encoded.Add(n) }
				maker.Blobs = mustBlobs(t, dir, 1<<30)
				info := describe(t, maker, r)
				l, err := maker.Open(ctx, r, info.Digest)
				if err != nil {
					t.Fatal(err)
				}
				want, file := whole(t, l), filepath.Join(dir, info.Digest.Hex)
				if encoded.Swap(0) != info.Tar {
					t.Error("it is encoded more than once")
				}
				if err := c.harm(dir, file, want); err != nil {
					t.Fatal(err)
				}
				for _, c := range [][2]int64{{200<<10 - 10, 20}, {0, l.Size()}, {100 << 10, 150 << 10}} {
					var got bytes.Buffer
					if err := l.WriteRange(ctx, &got, c[0], c[1]); err != nil || !bytes.Equal(got.Bytes(), want[c[0]:c[0]+c[1]]) {
						t.Errorf("%d+%d: %d bytes, %v", c[0], c[1], got.Len(), err)
					}
				}
				maker.Blobs.Close()
				// An answer that comes before the encoding for the last one has ended shares it.
				if n := encoded.Load(); n > c.whole*info.Tar || n < min(c.whole, 1)*info.Tar {
					t.Errorf("%d bytes were encoded, of %d", n, info.Tar)
				}
				if b, err := os.ReadFile(file); c.whole == 1 && !bytes.Equal(b, want) {
					t.Errorf("the file is not mended: %d bytes, %v", len(b), err)
				}
			})
		}
	}
}

// overwrite writes b into a file in place, at off.
func overwrite(file string, off int64, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, off)
	return errors.Join(err, f.Close())
}

// However many ask for a damaged layer, it is made again once.
func TestKeptBlobIsMadeAgainOnce(t *testing.T) {
	m, r := noiseStore(t)
	r.Encoding = layer.Gzip
	maker, dir := newMaker(t, m), t.TempDir()
	maker.Blobs = mustBlobs(t, dir, 1<<30)
	info := describe(t, maker, r)
	file := filepath.Join(dir, info.Digest.Hex)
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := overwrite(file, 100, []byte{want[100] ^ 1}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if maker.Blobs, err = layer.OpenBlobs(dir, 1<<30, slog.New(slog.NewTextHandler(&log, nil))); err != nil { // another process
		t.Fatal(err)
	}
	l, err := maker.Open(ctx, r, info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if !bytes.Equal(whole(t, l), want) {
				t.Error("wrong bytes")
			}
		})
	}
	all.Wait()
	if n := strings.Count(log.String(), "made again"); n != 1 || !strings.Contains(log.String(), file) {
		t.Errorf("%d lines: %s", n, &log)
	}
}
