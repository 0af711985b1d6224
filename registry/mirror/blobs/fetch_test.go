package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var errOrigin = errors.New("origin is down")

func TestWrongContent(t *testing.T) {
	data := content(1, 300<<10)
	size := int64(len(data))
	tests := []struct {
		name string
		sent []byte
		said int64
	}{
		{"digest", content(2, len(data)), size},
		{"digest, length unknown", content(2, len(data)), -1},
		{"too short", data[:size-1], size},
		{"too long", append(bytes.Clone(data), 0), size},
		{"nothing", nil, size},
		{"too short, length unknown", data[:size-1], -1},
		{"said too short", data, size - 1},
		{"said too long", data, size + 1},
		{"said none", data, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, Options{})
			o := &origin{data: tt.sent, size: tt.said}
			b, err := blobOf(t.Context(), t, c, digest(data), o.fetch)
			if err == nil {
				err = wantRange(b, data, 0, b.Size())
			}
			if !errors.Is(err, ErrContent) {
				t.Errorf("got %v", err)
			}
			settle(c, digest(data))
			if _, ok := c.Has(digest(data)); ok {
				t.Error("it is kept")
			}
			o.want(t, 1)
			wantTidy(t, c)
			mustRead(t, c, data, originOf(data).fetch)
		})
	}
}

// endless never ends, and counts.
type endless struct{ sent atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

// Of an origin that sends more than it announced, no more is taken.
func TestEndless(t *testing.T) {
	c := open(t, Options{})
	var body endless
	b := mustBlob(t, c, digest(nil), func(context.Context) (io.ReadCloser, int64, error) { return io.NopCloser(&body), 1000, nil })
	err := b.WriteRange(t.Context(), io.Discard, 0, 1000)
	if !errors.Is(err, ErrContent) || body.sent.Load() > bufferSize {
		t.Errorf("%v, after %d bytes", err, body.sent.Load())
	}
	settle(c, digest(nil))
	wantTidy(t, c)
}

func TestRightContent(t *testing.T) {
	for _, n := range []int{0, 1, 2, bufferSize - 1, bufferSize, bufferSize + 1, 5 * bufferSize} {
		data := content(1, n)
		for _, said := range []int64{-1, int64(n)} {
			c := open(t, Options{})
			o := &origin{data: data, size: said}
			b := mustBlob(t, c, digest(data), o.fetch)
			if b.Size() != int64(n) {
				t.Errorf("size %d, want %d", b.Size(), n)
			}
			if err := wantRange(b, data, 0, int64(n)); err != nil {
				t.Errorf("%d bytes, said %d: %v", n, said, err)
			}
			settle(c, digest(data))
			mustRead(t, c, data, nil)
			o.want(t, 1)
			wantTidy(t, c)
		}
	}
}

func TestFailingOrigin(t *testing.T) {
	data := content(1, 1000)
	cut := io.MultiReader(bytes.NewReader(data[:500]), iotest.ErrReader(errOrigin))
	tests := map[string]Fetch{
		"open": func(context.Context) (io.ReadCloser, int64, error) { return nil, 0, errOrigin },
		"cut":  func(context.Context) (io.ReadCloser, int64, error) { return io.NopCloser(cut), 1000, nil },
	}
	for name, fetch := range tests {
		t.Run(name, func(t *testing.T) {
			c := open(t, Options{})
			calls := 0
			counted := func(ctx context.Context) (io.ReadCloser, int64, error) {
				calls++
				return fetch(ctx)
			}
			if err := read(c, data, counted); !errors.Is(err, errOrigin) {
				t.Errorf("got %v", err)
			}
			settle(c, digest(data))
			if calls != 1 {
				t.Errorf("%d fetches", calls)
			}
			wantTidy(t, c)
			mustRead(t, c, data, originOf(data).fetch)
		})
	}
}

// No more fetches run at once than are allowed, and those that nobody waits for any more do not run at all.
func TestFetchesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{}).Origin(2)
		var running, most atomic.Int32
		pass := make(chan struct{})
		fetch := func(data []byte) Fetch {
			return func(context.Context) (io.ReadCloser, int64, error) {
				most.Store(max(most.Load(), running.Add(1)))
				<-pass
				running.Add(-1)
				return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
			}
		}
		results := make(chan error, 10)
		leave := make([]context.CancelFunc, 10)
		for i := range 10 {
			data := content(uint64(i), 100)
			ctx, cancel := context.WithCancel(t.Context())
			leave[i] = cancel
			go func() {
				_, err := blobOf(ctx, t, c, digest(data), fetch(data))
				results <- err
			}()
			synctest.Wait()
		}
		for _, cancel := range slices.Backward(leave) { // those that wait first
			cancel()
			synctest.Wait()
		}
		for range 10 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		last := content(9, 100)
		go func() { results <- read(c, last, fetch(last)) }()
		synctest.Wait()
		close(pass)
		if err := <-results; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if most.Load() != 2 {
			t.Errorf("%d fetches at once", most.Load())
		}
		if n := c.Stats().Blobs; n != 2 {
			t.Errorf("%d blobs, want the one that is wanted, and of the two that had begun the one that need not end for it", n)
		}
	})
}

func TestBytesAndPut(t *testing.T) {
	c := open(t, Options{})
	data := content(1, 1000)
	if _, err := c.Bytes(t.Context(), digest(data), 1000); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not kept: %v", err)
	}
	if err := c.Put(t.Context(), digest(data), data[1:]); !errors.Is(err, ErrContent) {
		t.Errorf("wrong bytes: %v", err)
	}
	for range 2 {
		if err := c.Put(t.Context(), digest(data), data); err != nil {
			t.Fatal(err)
		}
		wantTidy(t, c)
	}
	if got, err := c.Bytes(t.Context(), digest(data), 1000); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := c.Bytes(t.Context(), digest(data), 999); !errors.Is(err, ErrContent) {
		t.Errorf("too large: %v", err)
	}
}

func TestOnlySHA256(t *testing.T) {
	c := open(t, Options{})
	good := digest(nil)
	for _, d := range []v1.Hash{
		{},
		{Algorithm: "sha512", Hex: good.Hex + good.Hex},
		{Algorithm: "sha512", Hex: good.Hex},
		{Algorithm: "sha256", Hex: strings.ToUpper(good.Hex)},
		{Algorithm: "sha256", Hex: good.Hex[:62]},
		{Algorithm: "sha256", Hex: good.Hex[:62] + ".."},
	} {
		_, err := blobOf(t.Context(), t, c, d, originOf(nil).fetch)
		if _, kept := c.Has(d); kept || fetching(c, d) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%v: %v", d, err)
		}
		if err := c.Put(t.Context(), d, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("put %v: %v", d, err)
		}
	}
}

// A kept blob that was changed on disk is fetched again before its first byte, whether the change is older than the process or not.
func TestDamagedBlobIsHealed(t *testing.T) {
	data := content(1, 300_000)
	damaged := bytes.Clone(data)
	damaged[299_000] ^= 1
	c, o := open(t, Options{}), originOf(data)
	mustRead(t, c, data, o.fetch)
	for calls := range int32(2) { // the second time by another process
		b := mustBlob(t, c, digest(data), o.fetch)
		if err := os.WriteFile(fileOf(c, data), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := wantRange(b, data, 0, 300_000); err != nil {
			t.Error(err)
		}
		settle(c, digest(data))
		o.want(t, calls+2)
		c.Close()
		c = open(t, Options{Dir: c.files.Dir})
	}
	mustRead(t, c, data, nil)
	wantTidy(t, c)
}

// The files have the names that they always had.
func TestLayout(t *testing.T) {
	data, dir := content(1, 10), t.TempDir()
	hex := digest(data).Hex
	file := filepath.Join(dir, "sha256", hex[:2], hex)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "incoming", "blob-gone-1")
	if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o700), os.WriteFile(left, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if kept, err := Kept(dir); err != nil || len(kept) != 1 || kept[file] != sha256.Sum256(data) {
		t.Errorf("%v, %v", kept, err)
	}
	c := open(t, Options{Dir: dir})
	mustRead(t, c, data, nil)
	wantTidy(t, c)
}

func TestOneFetchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1<<20)
		c := open(t, Options{})
		h := &held{size: int64(len(data))}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := read(c, data, h.fetch); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all of them wait for the first byte
		if !fetching(c, digest(data)) {
			t.Error("not fetching")
		}
		if _, err := c.Bytes(t.Context(), digest(data), 2<<20); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without an origin: %v", err)
		}
		h.send(t, data)
		h.pipe.Close()
		wg.Wait()
		settle(c, digest(data))
		if n := h.calls.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
		if size, ok := c.Has(digest(data)); !ok || size != int64(len(data)) || fetching(c, digest(data)) {
			t.Errorf("has %d, %v", size, ok)
		}
		wantTidy(t, c)
	})
}

func TestReaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{})
		h := &held{size: 1000}
		ctx, leave := context.WithCancel(t.Context())
		b, err := blobOf(ctx, t, c, digest(data), h.fetch)
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- b.WriteRange(ctx, &recorder{}, 0, 1000) }()
		h.send(t, data[:500])
		leave()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		h.send(t, data[500:])
		h.pipe.Close()
		settle(c, digest(data))
		if err := read(c, data, nil); err != nil {
			t.Errorf("not kept: %v", err)
		}
	})
}

func TestRangeOutside(t *testing.T) {
	data := content(1, 10)
	b := mustBlob(t, open(t, Options{}), digest(data), originOf(data).fetch)
	for _, r := range [][2]int64{{-1, 1}, {0, 11}, {0, -1}, {10, 1}, {1 << 62, 1 << 62}} {
		if err := b.WriteRange(t.Context(), &recorder{}, r[0], r[1]); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("range %v: %v", r, err)
		}
	}
	if err := wantRange(b, data, 10, 0); err != nil {
		t.Error(err)
	}
}
