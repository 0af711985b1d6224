package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
)

// occupy takes all slots until free is called.
func occupy(c *Origin, slots *room) (free func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slots.take(slots.limit)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		slots.give(slots.limit)
	}
}

// An origin that does not answer keeps nobody from another one, not even from the same blob.
func TestOriginsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := open(t, Options{}).Origin(1)
		quick := slow.Cache.Origin(1)
		data, other := content(1, 100), content(2, 100)
		pass := make(chan struct{})
		fetch := func(context.Context) (io.ReadCloser, int64, error) {
			<-pass
			return nil, 0, errOrigin
		}
		results := make(chan error, 2)
		for _, data := range [][]byte{data, other} {
			go func() { results <- read(slow, data, fetch) }()
		}
		synctest.Wait()
		if !fetching(slow, digest(data)) || fetching(quick, digest(data)) {
			t.Error("it is fetched from the wrong origin")
		}
		for _, data := range [][]byte{data, other} {
			o := originOf(data)
			if err := read(quick, data, o.fetch); err != nil {
				t.Error(err)
			}
		}
		close(pass)
		for range 2 {
			if err := <-results; !errors.Is(err, errOrigin) {
				t.Errorf("got %v", err)
			}
		}
		synctest.Wait()
		wantKept(t, slow, [][]byte{data, other}, "kk")
		wantTidy(t, slow)
	})
}

// A check that is given up before it has begun is nothing to the readers of the Blob that it was begun for.
func TestAbandonedCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{Dir: kept(t, data)})
		free := occupy(c, c.small)
		b := mustBlob(t, c, digest(data), 1000, nil)
		synctest.Wait()
		if len(c.flights) > 0 {
			t.Error("it waits for nobody")
		}
		free()
		if err := wantRange(b, data, 0, 1000); err != nil {
			t.Error(err)
		}
	})
}

// Small files are read through whatever large ones are.
func TestSmallChecksDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small, large := content(1, 600), content(2, smallSize+1)
		c := open(t, Options{Dir: kept(t, small, large)})
		free := occupy(c, c.checks)
		result := make(chan error, 1)
		go func() { result <- read(c, large, nil) }()
		synctest.Wait()
		if got, err := c.Bytes(t.Context(), digest(small), 600, nil); err != nil || !bytes.Equal(got, small) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		synctest.Wait()
		if len(result) > 0 {
			t.Error("a large one has not waited")
		}
		free()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// That a file cannot be opened is no reason to lose it, and no answer of an origin.
func TestNotOpened(t *testing.T) {
	data := content(1, 1000)
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.EACCES} {
		c := open(t, Options{})
		mustRead(t, c, data, originOf(data).fetch)
		b := mustBlob(t, c, digest(data), -1, nil)
		c.index.openFile = func(path string) (*os.File, fs.FileInfo, error) {
			return nil, nil, &fs.PathError{Op: "open", Path: path, Err: cause}
		}
		_, errBlob := c.Blob(t.Context(), digest(data), -1, nil)
		_, errBytes := c.Bytes(t.Context(), digest(data), 1000, nil)
		for _, err := range []error{errBlob, errBytes, wantRange(b, data, 0, 1000)} {
			if err == nil || errors.Is(err, fs.ErrPermission) || cause != syscall.EACCES && !errors.Is(err, cause) {
				t.Errorf("%v: got %v", cause, err)
			}
		}
		c.index.openFile = openRegular
		mustRead(t, c, data, nil)
	}
}

// That a file cannot be read through is no damage.
func TestNotReadThrough(t *testing.T) {
	data := content(1, 1000)
	c := open(t, Options{Dir: kept(t, data)})
	f := checking(t, c, data)
	unreadable, err := os.OpenFile(fileOf(c, data), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.file.Close()
	f.file = unreadable
	err = c.readThrough(t.Context(), f)
	if err == nil || errors.Is(err, errAgain) || !errors.Is(err, syscall.EBADF) {
		t.Errorf("got %v", err)
	}
	c.land(f, err)
	mustRead(t, c, data, nil)
}

// Where a blob is kept, it is opened once.
func TestBytesOpensOnce(t *testing.T) {
	data := content(1, 1000)
	c := open(t, Options{})
	mustRead(t, c, data, originOf(data).fetch)
	opened := 0
	c.index.openFile = func(path string) (*os.File, fs.FileInfo, error) {
		opened++
		return openRegular(path)
	}
	if _, err := c.Bytes(t.Context(), digest(data), 1000, nil); err != nil || opened != 1 {
		t.Errorf("opened %d times, %v", opened, err)
	}
}

// What is not kept is there for the first who reads it, though its fetch has ended.
func TestNotKeptIsFetchedOnce(t *testing.T) {
	data := content(1, 301)
	for _, said := range []int64{-1, 301} {
		c := open(t, Options{Max: 300})
		o := &origin{data: data, size: said}
		b := mustBlob(t, c, digest(data), -1, o.fetch)
		settle(c, digest(data))
		if err := wantRange(b, data, 0, 301); err != nil {
			t.Error(err)
		}
		o.want(t, 1)
		if err := wantRange(b, data, 1, 300); err != nil { // and for those after him, again
			t.Error(err)
		}
		settle(c, digest(data))
		o.want(t, 2)
		b = mustBlob(t, c, digest(data), -1, o.fetch)
		c.Close()
		if err := wantRange(b, data, 0, 301); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// A Blob that nobody reads leaves no file open.
func TestForgottenBlob(t *testing.T) {
	data := content(1, 301)
	c := open(t, Options{Max: 300})
	f := mustBlob(t, c, digest(data), -1, (&origin{data: data, size: -1}).fetch).flight
	settle(c, digest(data))
	for { // until the file is closed
		runtime.GC()
		if _, err := f.file.Stat(); errors.Is(err, fs.ErrClosed) {
			return
		}
	}
}
