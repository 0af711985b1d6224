package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
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
		want int64
	}{
		{"digest", content(2, len(data)), size, size},
		{"digest, length unknown", content(2, len(data)), -1, -1},
		{"too short", data[:size-1], size, size},
		{"too long", append(bytes.Clone(data), 0), size, size},
		{"nothing", nil, size, size},
		{"too short, length unknown", data[:size-1], -1, -1},
		{"too long, length wanted", append(bytes.Clone(data), 0), -1, size},
		{"said too short", data, size - 1, -1},
		{"said too long", data, size + 1, -1},
		{"said none", data, 0, -1},
		{"wanted too short", data, size, size - 1},
		{"wanted too long", data, -1, size + 1},
		{"wanted none", data, size, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, Options{})
			o := &origin{data: tt.sent, size: tt.said}
			b, err := c.Blob(t.Context(), digest(data), tt.want, o.fetch)
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

// Of an origin that sends more than it should, no more is taken.
func TestEndless(t *testing.T) {
	for _, said := range []int64{1000, -1} {
		c := open(t, Options{})
		var body endless
		_, err := c.Bytes(t.Context(), digest(nil), 1000, func(context.Context) (io.ReadCloser, int64, error) {
			return io.NopCloser(&body), said, nil
		})
		if !errors.Is(err, ErrContent) || body.sent.Load() > bufferSize {
			t.Errorf("%v, after %d bytes", err, body.sent.Load())
		}
		settle(c, digest(nil))
		wantTidy(t, c)
	}
}

func TestRightContent(t *testing.T) {
	for _, n := range []int{0, 1, 2, bufferSize - 1, bufferSize, bufferSize + 1, 5 * bufferSize} {
		data := content(1, n)
		for _, said := range []int64{-1, int64(n)} {
			for _, want := range []int64{-1, int64(n)} {
				c := open(t, Options{})
				o := &origin{data: data, size: said}
				b := mustBlob(t, c, digest(data), want, o.fetch)
				if b.Size() != int64(n) {
					t.Errorf("size %d, want %d", b.Size(), n)
				}
				if err := wantRange(b, data, 0, int64(n)); err != nil {
					t.Errorf("%d bytes, said %d, want %d: %v", n, said, want, err)
				}
				settle(c, digest(data))
				mustRead(t, c, data, nil)
				o.want(t, 1)
				wantTidy(t, c)
			}
		}
	}
}

// A caller who knows a wrong size spoils nothing for the others.
func TestWrongWantIsOnesOwn(t *testing.T) {
	for _, said := range []int64{1000, -1} {
		synctest.Test(t, func(t *testing.T) {
			data := content(1, 1000)
			c := open(t, Options{})
			pass := make(chan struct{})
			o := &origin{data: data, size: said}
			fetch := func(ctx context.Context) (io.ReadCloser, int64, error) {
				<-pass
				return o.fetch(ctx)
			}
			wrong, right := make(chan error, 1), make(chan error, 1)
			go func() {
				b, err := c.Blob(t.Context(), digest(data), 999, fetch)
				if err == nil { // it was the size that had to be believed
					err = wantRange(b, data, 0, 999)
				}
				wrong <- err
			}()
			synctest.Wait()
			go func() { right <- read(c, data, fetch) }()
			synctest.Wait()
			close(pass)
			if err := <-wrong; !errors.Is(err, ErrContent) {
				t.Errorf("the wrong one got %v", err)
			}
			if err := <-right; err != nil {
				t.Errorf("the right one got %v", err)
			}
			settle(c, digest(data))
			if _, err := c.Blob(t.Context(), digest(data), 999, nil); !errors.Is(err, ErrContent) {
				t.Errorf("of what is kept, the wrong one got %v", err)
			}
		})
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

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic(fs.ErrNotExist) }
func (panicking) Close() error             { return nil }

func TestPanicIsAnError(t *testing.T) {
	data := content(1, 1000)
	tests := map[string]Fetch{
		"fetch":  func(context.Context) (io.ReadCloser, int64, error) { panic(fs.ErrNotExist) },
		"body":   func(context.Context) (io.ReadCloser, int64, error) { return panicking{}, 1000, nil },
		"none":   func(context.Context) (io.ReadCloser, int64, error) { return nil, 1000, nil },
		"Goexit": func(context.Context) (io.ReadCloser, int64, error) { runtime.Goexit(); return nil, 0, nil },
	}
	for name, fetch := range tests {
		t.Run(name, func(t *testing.T) {
			c := open(t, Options{}).Origin(1)
			if err := read(c, data, fetch); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
			settle(c, digest(data))
			wantTidy(t, c)
			mustRead(t, c, data, originOf(data).fetch)
		})
	}
}

func TestCloseDuringFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{}).Origin(1)
		before := content(2, 1000)
		mustRead(t, c, before, originOf(before).fetch)
		h := &held{size: 1000}
		b := mustBlob(t, c, digest(data), 1000, h.fetch)
		results := make(chan error, 2)
		go func() { results <- b.WriteRange(t.Context(), &recorder{}, 0, 1000) }()
		go func() { // waits for a slot
			_, err := c.Blob(t.Context(), digest(data[1:]), 999, h.fetch)
			results <- err
		}()
		h.send(t, data[:500])
		synctest.Wait()
		c.Close()
		for range 2 {
			if err := <-results; !errors.Is(err, fs.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		wantTidy(t, c)
		for _, data := range [][]byte{data, before} {
			if err := read(c, data, h.fetch); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("afterwards: %v", err)
			}
		}
		if err := c.Put(t.Context(), digest(data), data); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Put: %v", err)
		}
		c.Close()
	})
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
				_, err := c.Blob(ctx, digest(data), -1, fetch(data))
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
		if n := len(c.flights); n != 2 {
			t.Errorf("%d flights when all have left", n)
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
	if _, err := c.Bytes(t.Context(), digest(data), 1000, nil); !errors.Is(err, fs.ErrNotExist) {
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
	if got, err := c.Bytes(t.Context(), digest(data), 1000, nil); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := c.Bytes(t.Context(), digest(data), 999, nil); !errors.Is(err, ErrContent) {
		t.Errorf("too large: %v", err)
	}
	more := content(2, 1001)
	for _, said := range []int64{-1, 1001} {
		o := &origin{data: more, size: said}
		if _, err := c.Bytes(t.Context(), digest(more), 1000, o.fetch); !errors.Is(err, ErrContent) {
			t.Errorf("too large to fetch: %v", err)
		}
		settle(c, digest(more))
	}
	if got, err := c.Bytes(t.Context(), digest(more), 1001, originOf(more).fetch); err != nil || !bytes.Equal(got, more) {
		t.Errorf("fetched %d bytes, %v", len(got), err)
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
		_, err := c.Blob(t.Context(), d, -1, originOf(nil).fetch)
		if _, kept := c.Has(d); kept || fetching(c, d) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%v: %v", d, err)
		}
		if err := c.Put(t.Context(), d, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("put %v: %v", d, err)
		}
	}
}

// What is wrong with the cache's own files must not look like an origin that has no such blob.
func TestOwnErrorsAreNoAnswers(t *testing.T) {
	data := content(1, 10)
	c := open(t, Options{})
	incoming := filepath.Join(c.index.dir, incomingDir)
	if err := errors.Join(os.Remove(incoming), os.Symlink("nowhere", incoming)); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		read(c, data, originOf(data).fetch),
		c.Put(t.Context(), digest(data), data),
		ownError(syscall.EACCES),
	} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v", err)
		}
	}
	if err := os.Remove(incoming); err != nil {
		t.Fatal(err)
	}
	mustRead(t, c, data, originOf(data).fetch) // makes the directory again
}
