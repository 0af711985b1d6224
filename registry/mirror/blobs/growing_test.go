package blobs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
)

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
		if _, err := c.Bytes(t.Context(), digest(data), 2<<20, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without an origin: %v", err)
		}
		k, _ := parseKey(digest(data))
		f := c.flights[flightKey{k, c}]
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
		if _, err := f.file.Stat(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("the file is left open: %v", err)
		}
		wantTidy(t, c)
	})
}

// Readers see what has arrived, whether they start at the beginning or not, and wait for the rest.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{})
		h := &held{size: 1000}
		b := mustBlob(t, c, digest(data), 1000, h.fetch)
		ranges := [][2]int64{{0, 1000}, {100, 900}, {100, 50}, {900, 100}, {499, 1}, {999, 1}}
		got := make([]recorder, len(ranges))
		var wg sync.WaitGroup
		for i, r := range ranges {
			wg.Go(func() {
				if err := b.WriteRange(t.Context(), &got[i], r[0], r[1]); err != nil {
					t.Error(err)
				}
			})
		}
		h.send(t, data[:500])
		synctest.Wait()
		for i, n := range []int64{500, 400, 49, 0, 0, 0} {
			if have := got[i].bytes(); !bytes.Equal(have, data[ranges[i][0]:][:n]) {
				t.Errorf("range %v: %d bytes, want %d", ranges[i], len(have), n)
			}
		}
		h.send(t, data[500:])
		synctest.Wait()
		for i, r := range ranges {
			if have := got[i].bytes(); !bytes.Equal(have, data[r[0]:][:r[1]-1]) {
				t.Errorf("range %v: %d bytes before the digest is known", r, len(have))
			}
		}
		h.pipe.Close()
		wg.Wait()
		for i, r := range ranges {
			if !bytes.Equal(got[i].bytes(), data[r[0]:][:r[1]]) {
				t.Errorf("range %v: wrong", r)
			}
		}
	})
}

// Nobody gets the last byte of what turns out to be wrong.
func TestLastByteHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{})
		h := &held{size: 1000}
		b := mustBlob(t, c, digest(data), -1, h.fetch)
		var got recorder
		result := make(chan error, 1)
		go func() { result <- b.WriteRange(t.Context(), &got, 0, 1000) }()
		h.send(t, data[:999])
		h.send(t, []byte{data[999] ^ 1})
		synctest.Wait()
		if n := len(got.bytes()); n != 999 {
			t.Errorf("%d bytes have arrived", n)
		}
		h.pipe.Close()
		if err := <-result; !errors.Is(err, ErrContent) {
			t.Errorf("got %v", err)
		}
		if n := len(got.bytes()); n != 999 {
			t.Errorf("%d bytes in the end", n)
		}
		wantTidy(t, c)
		o := originOf(data)
		mustRead(t, c, data, o.fetch)
		o.want(t, 1)
	})
}

func TestReaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{})
		h := &held{size: 1000}
		ctx, leave := context.WithCancel(t.Context())
		b, err := c.Blob(ctx, digest(data), 1000, h.fetch)
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

func TestCallerLeavesBeforeTheSizeIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{})
		h := &held{size: -1}
		ctx, leave := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := c.Blob(ctx, digest(data), -1, h.fetch)
			result <- err
		}()
		synctest.Wait()
		leave()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		h.send(t, data)
		h.pipe.Close()
		settle(c, digest(data))
		if err := read(c, data, nil); err != nil {
			t.Errorf("not kept: %v", err)
		}
	})
}

func TestRangeOutside(t *testing.T) {
	data := content(1, 10)
	b := mustBlob(t, open(t, Options{}), digest(data), -1, originOf(data).fetch)
	for _, r := range [][2]int64{{-1, 1}, {0, 11}, {0, -1}, {10, 1}, {1 << 62, 1 << 62}} {
		if err := b.WriteRange(t.Context(), &recorder{}, r[0], r[1]); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("range %v: %v", r, err)
		}
	}
	if err := wantRange(b, data, 10, 0); err != nil {
		t.Error(err)
	}
}
