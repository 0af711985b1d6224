package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// wantKept checks which of the blobs are kept.
func wantKept(t *testing.T, c *Origin, all [][]byte, want string) {
	t.Helper()
	got := make([]byte, len(all))
	for i, data := range all {
		got[i] = '-'
		if _, ok := c.Has(digest(data)); ok {
			got[i] = 'k'
		}
	}
	if string(got) != want {
		t.Errorf("kept %s, want %s", got, want)
	}
}

func contents(n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = content(uint64(i), size)
	}
	return all
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	c := open(t, Options{Max: 300})
	all := contents(5, 100)
	for _, data := range all[:3] {
		mustRead(t, c, data, originOf(data).fetch)
	}
	mustRead(t, c, all[0], nil)
	mustRead(t, c, all[3], originOf(all[3]).fetch)
	wantKept(t, c, all, "k-kk-")
	if err := c.Put(t.Context(), digest(all[0]), all[0]); err != nil { // is a use of it
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), digest(all[4]), all[4]); err != nil {
		t.Fatal(err)
	}
	wantKept(t, c, all, "k--kk")
	wantTidy(t, c)
}

// Space is set aside when a fetch starts, and given back when it fails. Blobs go only when bytes come.
func TestReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 300})
		all := contents(3, 100)
		for _, data := range all {
			mustRead(t, c, data, originOf(data).fetch)
		}
		big := content(9, 150)
		h := &held{size: 150}
		mustBlob(t, c, digest(big), -1, h.fetch)
		wantKept(t, c, all, "kkk")
		if got, want := c.Stats(), (Stats{Blobs: 3, Kept: 300, Growing: 150}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		h.send(t, big[:100])
		synctest.Wait()
		wantKept(t, c, all, "-kk")
		h.pipe.CloseWithError(errOrigin)
		settle(c, digest(big))
		wantKept(t, c, all, "-kk")
		wantTidy(t, c)
	})
}

func TestReservationOfUnknownLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 300})
		all := contents(3, 100)
		for _, data := range all {
			mustRead(t, c, data, originOf(data).fetch)
		}
		big := content(9, 301)
		h := &held{size: -1}
		result := make(chan error, 1)
		go func() {
			_, err := c.Blob(t.Context(), digest(big), -1, h.fetch)
			result <- err
		}()
		synctest.Wait()
		h.send(t, big[:150])
		synctest.Wait()
		if got, want := c.Stats(), (Stats{Blobs: 1, Kept: 100, Growing: 150}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		h.send(t, big[150:]) // too large to be kept
		h.pipe.Close()
		if err := <-result; err != nil {
			t.Error(err)
		}
		settle(c, digest(big))
		wantKept(t, c, all, "--k")
		wantTidy(t, c)
	})
}

// What is larger than the cache reaches its readers, and costs nobody's place.
func TestLargerThanTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 300})
		small, big := content(1, 100), content(2, 301)
		mustRead(t, c, small, originOf(small).fetch)
		h := &held{size: 301}
		b := mustBlob(t, c, digest(big), -1, h.fetch)
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- wantRange(b, big, 1, 300) }()
		}
		h.send(t, big)
		synctest.Wait()
		h.pipe.Close()
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		settle(c, digest(big))
		wantKept(t, c, [][]byte{small, big}, "k-")
		wantTidy(t, c)
		if err := c.Put(t.Context(), digest(big), big); err != nil {
			t.Error(err)
		}
		wantKept(t, c, [][]byte{small, big}, "k-")
	})
}

func TestNothingIsKept(t *testing.T) {
	cache, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	c := cache.Origin(0)
	for _, n := range []int{1, 1000} {
		data := content(1, n)
		mustRead(t, c, data, originOf(data).fetch)
		if got, err := c.Bytes(t.Context(), digest(data), 1000, originOf(data).fetch); err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		settle(c, digest(data))
		wantKept(t, c, [][]byte{data}, "-")
	}
	wantTidy(t, c)
}

// evicting is a writer in the middle of whose work something happens.
type evicting struct {
	bytes.Buffer
	then func()
}

func (e *evicting) Write(p []byte) (int, error) {
	if e.then != nil {
		e.then()
		e.then = nil
	}
	return e.Buffer.Write(p)
}

func TestReaderOfAnEvictedBlob(t *testing.T) {
	data := content(1, 300<<10)
	c := open(t, Options{Max: 300 << 10})
	mustRead(t, c, data, originOf(data).fetch)
	w := &evicting{then: func() {
		other := content(2, 1000)
		if err := c.Put(t.Context(), digest(other), other); err != nil {
			t.Error(err)
		}
	}}
	// Hiding ReadFrom makes writes of it.
	err := mustBlob(t, c, digest(data), -1, nil).WriteRange(t.Context(), struct{ io.Writer }{w}, 0, 300<<10)
	if err != nil || !bytes.Equal(w.Bytes(), data) {
		t.Errorf("got %d bytes, %v", w.Len(), err)
	}
	wantKept(t, c, [][]byte{data}, "-")
	wantTidy(t, c)
}

// full writes as a disk does that has place for so many bytes, blobs included.
func full(c *Origin, room int) func(*os.File, []byte, int64) (int, error) {
	return func(f *os.File, p []byte, off int64) (int, error) {
		left := room - int(c.Stats().Kept) - int(off)
		if len(p) <= left {
			return f.WriteAt(p, off)
		}
		n, err := f.WriteAt(p[:max(left, 0)], off)
		if err == nil {
			err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
		}
		return n, err
	}
}

func TestDiskFull(t *testing.T) {
	c := open(t, Options{Max: 1000})
	all := contents(4, 100)
	for _, data := range all {
		mustRead(t, c, data, originOf(data).fetch)
	}
	c.writeAt = full(c, 420)
	more := content(8, 150)
	mustRead(t, c, more, originOf(more).fetch)
	wantKept(t, c, append(all, more), "--kkk")
	if err := c.Put(t.Context(), digest(all[0]), all[0]); err != nil {
		t.Fatal(err)
	}
	wantKept(t, c, append(all, more), "k--kk")
	wantTidy(t, c)

	tooMuch := content(9, 421)
	if err := read(c, tooMuch, originOf(tooMuch).fetch); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	settle(c, digest(tooMuch))
	if err := c.Put(t.Context(), digest(tooMuch), tooMuch); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v", err)
	}
	wantTidy(t, c)
}

// What would not be kept has no right to the place of what is.
func TestDiskFullForNothing(t *testing.T) {
	c := open(t, Options{Max: 200})
	all := contents(2, 100)
	for _, data := range all {
		mustRead(t, c, data, originOf(data).fetch)
	}
	c.writeAt = full(c, 300)
	big := content(9, 201)
	if err := read(c, big, originOf(big).fetch); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	settle(c, digest(big))
	wantKept(t, c, all, "kk")
	wantTidy(t, c)
}

// sendfile is a writer like that of a connection.
type sendfile struct {
	bytes.Buffer
	sources []string
}

func (s *sendfile) ReadFrom(r io.Reader) (int64, error) {
	kind := "other"
	if lr, ok := r.(*io.LimitedReader); ok {
		if f, ok := lr.R.(*os.File); ok {
			kind = f.Name()
		}
	}
	s.sources = append(s.sources, kind)
	return s.Buffer.ReadFrom(r)
}

func TestKeptFilesGoBySendfile(t *testing.T) {
	data := content(1, 100_000) // of which a small range would be read before any of it is handed over
	c := open(t, Options{})
	mustRead(t, c, data, originOf(data).fetch)
	var w sendfile
	if err := mustBlob(t, c, digest(data), -1, nil).WriteRange(context.Background(), &w, 10, 90_000); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.Bytes(), data[10:90_010]) || strings.Join(w.sources, " ") != fileOf(c, data) {
		t.Errorf("%d bytes from %q", w.Len(), w.sources)
	}
}
