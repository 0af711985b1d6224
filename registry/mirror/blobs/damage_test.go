package blobs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// damages are what may happen to a kept file.
var damages = map[string]func(path string, data []byte) error{
	"changed":   func(path string, data []byte) error { return os.WriteFile(path, flip(data, len(data)-1), 0o600) },
	"shortened": func(path string, data []byte) error { return os.Truncate(path, int64(len(data))-1) },
	"emptied":   func(path string, _ []byte) error { return os.Truncate(path, 0) },
	"lengthened": func(path string, data []byte) error {
		return os.WriteFile(path, append(bytes.Clone(data), 0), 0o600)
	},
	"gone": func(path string, _ []byte) error { return os.Remove(path) },
	"link": func(path string, data []byte) error {
		return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
	},
	"pipe": func(path string, _ []byte) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
}

func flip(data []byte, i int) []byte {
	data = bytes.Clone(data)
	data[i] ^= 1
	return data
}

// A damaged file is found out, and the blob fetched again, whether the damage is older than the process or not.
func TestDamaged(t *testing.T) {
	data := content(1, 1000)
	for name, damage := range damages {
		for _, want := range []int64{1000, -1} {
			t.Run(name, func(t *testing.T) {
				off, n := int64(0), int64(1000)
				if name == "changed" {
					off, n = 10, 1 // no byte of so short a range is sent before the whole is verified
				}
				c := open(t, Options{Dir: kept(t, data)})
				if err := damage(fileOf(c, data), data); err != nil {
					t.Fatal(err)
				}
				c.Close()
				c = open(t, Options{Dir: c.index.dir})
				o := originOf(data)
				if err := wantRange(mustBlob(t, c, digest(data), want, o.fetch), data, off, n); err != nil {
					t.Errorf("damaged before: %v", err)
				}
				settle(c, digest(data))
				o.want(t, 1)

				b := mustBlob(t, c, digest(data), want, o.fetch)
				tick(t, fileOf(c, data))
				if err := damage(fileOf(c, data), data); err != nil {
					t.Fatal(err)
				}
				if err := wantRange(b, data, off, n); err != nil {
					t.Errorf("damaged since: %v", err)
				}
				settle(c, digest(data))
				o.want(t, 2)
				mustRead(t, c, data, nil)
			})
		}
	}
}

// tick waits until the file system's clock has moved since the file was changed.
func tick(t *testing.T, path string) {
	t.Helper()
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(t.TempDir(), "probe")
	for {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		now, err := os.Lstat(probe)
		if err != nil {
			t.Fatal(err)
		}
		if stampOf(now).Ctime > stampOf(before).Ctime {
			return
		}
	}
}

// checking starts to read the kept blob that data is. How far that has come is up to the test, which ends it with land.
func checking(t *testing.T, c *Origin, data []byte) *flight {
	t.Helper()
	k, err := parseKey(digest(data))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(fileOf(c, data))
	if err != nil {
		t.Fatal(err)
	}
	f := &flight{key: k, entry: c.index.kept[k], file: file, size: int64(len(data)), refs: 1, cancel: func() {}}
	c.flights[flightKey{k, nil}] = f
	return f
}

// The first byte of a kept file is not delayed until the whole has been read.
func TestFirstReaderFollowsTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{Dir: kept(t, data)})
		f := checking(t, c, data)
		b := mustBlob(t, c, digest(data), 1000, nil)
		unsized := make(chan error, 1)
		go func() {
			_, err := c.Blob(t.Context(), digest(data), -1, nil)
			unsized <- err
		}()
		var got recorder
		result := make(chan error, 1)
		go func() { result <- b.WriteRange(t.Context(), &got, 0, 1000) }()
		for _, n := range []int64{0, 400, 1000} {
			f.tell(func() { f.written = n })
			synctest.Wait()
			if have := len(got.bytes()); have != int(min(n, 999)) {
				t.Errorf("%d bytes while %d are checked", have, n)
			}
		}
		if len(unsized) > 0 {
			t.Error("an unproved size is given away")
		}
		f.tell(func() { f.verified = true })
		if err := <-result; err != nil || !bytes.Equal(got.bytes(), data) {
			t.Error(err)
		}
		if err := <-unsized; err != nil {
			t.Error(err)
		}
		c.land(f, nil)
	})
}

// Readers of a kept file whose damage shows when they have a part of it are cut. Who has nothing yet gets the blob from
// its origin, as do those who come later.
func TestDamagedWhenBytesAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1, 1000)
		c := open(t, Options{Dir: kept(t, data)})
		f := checking(t, c, data)
		o := originOf(data)
		b := mustBlob(t, c, digest(data), 1000, o.fetch)
		var got recorder
		result, later := make(chan error, 1), make(chan error, 1)
		go func() { result <- b.WriteRange(t.Context(), &got, 0, 1000) }()
		go func() { later <- wantRange(b, data, 500, 100) }()
		f.tell(func() { f.written = 400 })
		synctest.Wait()
		c.land(f, c.lose(f, errors.New("digest")))
		if err := <-result; err == nil || len(got.bytes()) != 400 {
			t.Errorf("%d bytes, %v", len(got.bytes()), err)
		}
		if err := <-later; err != nil {
			t.Error(err)
		}
		settle(c, digest(data))
		mustRead(t, c, data, nil)
		o.want(t, 1)
		wantTidy(t, c)
	})
}

// A file that changes while it is read through is not trusted, unless what changes it is that it goes for lack of space.
func TestChangedWhileChecked(t *testing.T) {
	data := content(1, 1000)
	for _, evicted := range []bool{false, true} {
		c := open(t, Options{Dir: kept(t, data), Max: 1000})
		f := checking(t, c, data)
		fi, err := f.file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		tick(t, fileOf(c, data))
		if evicted {
			other := content(2, 1)
			err = c.Put(t.Context(), digest(other), other)
		} else {
			now := time.Now()
			err = os.Chtimes(fileOf(c, data), now, now)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := c.trust(f, stampOf(fi)); got != evicted {
			t.Errorf("evicted %v: trusted %v", evicted, got)
		}
		c.land(f, nil)
	}
}

func TestOnlyFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink("/dev/null", link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe, link, "/dev/null"} {
		if f, _, err := openRegular(path); err == nil {
			f.Close()
			t.Errorf("%s is opened", path)
		}
	}
}

// A file that was verified, and has changed in place, is verified again.
func TestChangedInPlace(t *testing.T) {
	data := content(1, 1000)
	dir := kept(t, data)
	c := open(t, Options{Dir: dir})
	e := func() *entry { k, _ := parseKey(digest(data)); return c.index.kept[k] }
	if e().verified() {
		t.Error("trusted without a look")
	}
	mustRead(t, c, data, nil)
	seen := e().seen
	if !e().verified() {
		t.Fatal("not verified")
	}
	tick(t, fileOf(c, data))
	now := time.Now()
	if err := os.Chtimes(fileOf(c, data), now, now); err != nil { // the same bytes, but who knows
		t.Fatal(err)
	}
	mustRead(t, c, data, nil)
	if e().seen == seen {
		t.Error("not verified again")
	}
	wantTidy(t, c)
}

// That a blob's file gets another time with use must not look like a change.
func TestUseIsNoChange(t *testing.T) {
	data := content(1, 1000)
	clk := &clock{}
	clk.seconds.Store(10_000)
	c := open(t, Options{Dir: kept(t, data), Now: clk.now})
	for range 3 {
		mustRead(t, c, data, nil)
		clk.seconds.Add(100)
		k, _ := parseKey(digest(data))
		found, err := c.find(k, ask{want: -1, most: -1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if found.file == nil {
			t.Fatal("it is verified again")
		}
		found.file.Close()
	}
}

// A file that vanishes after Blob is fetched again, and one that vanishes with no origin is gone.
func TestVanished(t *testing.T) {
	data := content(1, 1000)
	c := open(t, Options{})
	o := originOf(data)
	mustRead(t, c, data, o.fetch)
	b := mustBlob(t, c, digest(data), -1, o.fetch)
	if err := os.Remove(fileOf(c, data)); err != nil {
		t.Fatal(err)
	}
	if err := wantRange(b, data, 1, 998); err != nil {
		t.Error(err)
	}
	settle(c, digest(data))
	o.want(t, 2)
	b = mustBlob(t, c, digest(data), -1, nil)
	if err := os.Remove(fileOf(c, data)); err != nil {
		t.Fatal(err)
	}
	if err := wantRange(b, data, 0, 1000); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without an origin: %v", err)
	}
	wantTidy(t, c)
}

// A damaged blob that is put again meanwhile is whole.
func TestPutReplacesWhatIsNotVerified(t *testing.T) {
	data := content(1, 1000)
	c := open(t, Options{Dir: kept(t, data)})
	if err := os.WriteFile(fileOf(c, data), flip(data, 5), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), digest(data), data); err != nil {
		t.Fatal(err)
	}
	mustRead(t, c, data, nil)
	wantTidy(t, c)
}

// first is a writer that does something when its first bytes have come.
type first struct {
	bytes.Buffer
	do func()
}

func (w *first) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.do != nil {
		w.do()
		w.do = nil
	}
	return n, err
}

// ReadFrom hides that of the buffer, which would take all bytes at once.
func (w *first) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{w}, r) }

// A verified file that changes while it is sent ends the answer before its last byte. What the cache does itself is no
// change: that the blob is used, or goes for lack of space.
func TestChangedWhileSent(t *testing.T) {
	data := content(1, 300_000)
	for name, tc := range map[string]struct {
		do   func(c *Origin, clk *clock) error
		ends bool
	}{
		"changed":   {func(c *Origin, _ *clock) error { return damages["changed"](fileOf(c, data), data) }, true},
		"shortened": {func(c *Origin, _ *clock) error { return damages["shortened"](fileOf(c, data), data) }, true},
		"gone":      {func(c *Origin, _ *clock) error { return damages["gone"](fileOf(c, data), data) }, false},
		"used": {func(c *Origin, clk *clock) error {
			clk.seconds.Add(100)
			return read(c, data, nil)
		}, false},
		"evicted": {func(c *Origin, _ *clock) error {
			other := content(2, 100_000)
			return c.Put(t.Context(), digest(other), other)
		}, false},
		"changed, evicted": {func(c *Origin, _ *clock) error {
			other := content(2, 100_000)
			return errors.Join(damages["changed"](fileOf(c, data), data), c.Put(t.Context(), digest(other), other))
		}, true},
		"changed, put back, verified": {func(c *Origin, _ *clock) error {
			return errors.Join(damages["changed"](fileOf(c, data), data), os.WriteFile(fileOf(c, data), data, 0o600), read(c, data, nil))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			clk := new(clock)
			c, o := open(t, Options{Max: 350_000, Now: clk.now}), originOf(data)
			mustRead(t, c, data, o.fetch)
			tick(t, fileOf(c, data))
			var failed error
			w := &first{do: func() { failed = tc.do(c, clk) }}
			err := mustBlob(t, c, digest(data), -1, o.fetch).WriteRange(t.Context(), w, 0, int64(len(data)))
			if failed != nil {
				t.Fatal(failed)
			}
			if (err != nil) != tc.ends || (w.Len() < len(data)) != tc.ends || w.Len() == 0 {
				t.Errorf("%d bytes of %d, %v", w.Len(), len(data), err)
			}
			_ = read(c, data, o.fetch) // may follow the check of what is wrong, and be cut
			settle(c, digest(data))
			mustRead(t, c, data, o.fetch)
		})
	}
}

// So does a file that changes while a slow reader follows the fetch that brought it, or the check that found it right.
func TestChangedAfterItWasFollowed(t *testing.T) {
	data := content(1, 300_000)
	for name, dir := range map[string]string{"fetched": t.TempDir(), "checked": kept(t, data)} {
		t.Run(name, func(t *testing.T) {
			c, o := open(t, Options{Dir: dir}), originOf(data)
			w := &first{do: func() {
				settle(c, digest(data))
				tick(t, fileOf(c, data))
				if err := damages["changed"](fileOf(c, data), data); err != nil {
					t.Error(err)
				}
			}}
			err := mustBlob(t, c, digest(data), int64(len(data)), o.fetch).WriteRange(t.Context(), w, 0, int64(len(data)))
			if err == nil || w.Len() == len(data) || w.Len() == 0 {
				t.Errorf("%d bytes of %d, %v", w.Len(), len(data), err)
			}
			_ = read(c, data, o.fetch)
			settle(c, digest(data))
			mustRead(t, c, data, o.fetch)
		})
	}
}
