package layer_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
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

// keptLayer is a layer in an encoding whose bytes this process has made and kept in a file, and those bytes.
func keptLayer(t *testing.T, e layer.Encoding) (l *layer.Layer, file string, want []byte) {
	t.Helper()
	m, r := noiseStore(t)
	r.Encoding = e
	maker, dir := newMaker(t, m), t.TempDir()
	maker.Blobs = mustBlobs(t, dir, 1<<30)
	info := describe(t, maker, r)
	l, err := maker.Open(ctx, r, info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return l, filepath.Join(dir, info.Digest.Hex), whole(t, l)
}

// tick waits until a change of the file moves its ctime.
func tick(t *testing.T, file string) {
	t.Helper()
	ctime := func(name string) int64 {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := filestamp.Of(info)
		return s.Ctime
	}
	for probe := filepath.Join(t.TempDir(), "probe"); ; {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if ctime(probe) > ctime(file) {
			return
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

// inPlaceOf makes another file, link or directory and puts it in the place of a file.
func inPlaceOf(file string, made func(name string) error) error {
	return errors.Join(made(file+".new"), os.RemoveAll(file), os.Rename(file+".new", file))
}

// harms are what may happen to a kept file.
var harms = map[string]func(file string, want []byte) error{
	"flipped": func(f string, want []byte) error { return overwrite(f, 200<<10, []byte{want[200<<10] ^ 1}) },
	"zeroed":  func(f string, _ []byte) error { return overwrite(f, 200<<10, make([]byte, 4096)) },
	"flipped, its time set back": func(f string, want []byte) error {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		return errors.Join(overwrite(f, 200<<10, []byte{want[200<<10] ^ 1}), os.Chtimes(f, time.Now(), info.ModTime()))
	},
	"truncated": func(f string, want []byte) error { return os.Truncate(f, int64(len(want))-1) },
	"emptied":   func(f string, _ []byte) error { return os.Truncate(f, 0) },
	"grown":     func(f string, want []byte) error { return os.Truncate(f, int64(len(want))+1) },
	"removed":   func(f string, _ []byte) error { return os.Remove(f) },
	"replaced": func(f string, want []byte) error {
		return inPlaceOf(f, func(n string) error { return os.WriteFile(n, make([]byte, len(want)), 0o600) })
	},
	"replaced by a link": func(f string, want []byte) error {
		return inPlaceOf(f, func(n string) error { return errors.Join(os.WriteFile(f+".x", want, 0o600), os.Symlink(f+".x", n)) })
	},
	"replaced by a directory": func(f string, _ []byte) error {
		return inPlaceOf(f, func(n string) error { return os.Mkdir(n, 0o700) })
	},
	"replaced by a full directory": func(f string, _ []byte) error {
		return inPlaceOf(f, func(n string) error { return os.MkdirAll(filepath.Join(n, "x"), 0o700) })
	},
	"replaced by a pipe": func(f string, _ []byte) error {
		return inPlaceOf(f, func(n string) error { return syscall.Mkfifo(n, 0o600) })
	},
	"its directory removed": func(f string, _ []byte) error { return os.RemoveAll(filepath.Dir(f)) },
}

// A kept file that is harmed while this process runs is made again, and no wrong byte of it is sent: neither of the whole
// nor of a range.
func TestKeptBlobIsHarmed(t *testing.T) {
	for _, e := range []layer.Encoding{layer.Gzip, layer.Zstd} {
		for name, harm := range harms {
			t.Run(string(e)+" "+name, func(t *testing.T) {
				l, file, want := keptLayer(t, e)
				tick(t, file)
				if err := harm(file, want); err != nil {
					t.Fatal(err)
				}
				for _, c := range [][2]int64{{200<<10 - 10, 20}, {0, l.Size()}, {100 << 10, 150 << 10}} {
					var got bytes.Buffer
					if err := l.WriteRange(ctx, &got, c[0], c[1]); err != nil || !bytes.Equal(got.Bytes(), want[c[0]:c[0]+c[1]]) {
						t.Errorf("%d+%d: %d bytes, %v", c[0], c[1], got.Len(), err)
					}
				}
				if b, err := os.ReadFile(file); !bytes.Equal(b, want) && name != "replaced by a full directory" && name != "its directory removed" {
					t.Errorf("the file is not mended: %d bytes, %v", len(b), err)
				}
			})
		}
	}
}

// once is a writer that does something before its first bytes.
type once struct {
	bytes.Buffer
	do   func() error
	done bool
	err  error
}

func (w *once) Write(b []byte) (int, error) {
	if !w.done {
		w.done, w.err = true, w.do()
	}
	return w.Buffer.Write(b)
}

// ReadFrom hides that of the buffer, which would take all bytes before the first Write.
func (w *once) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{w}, r) }

// A kept file that is harmed between the first byte and the last ends the answer before its last byte; the next one is
// right. One that is removed, as for lack of space, keeps its bytes.
func TestKeptBlobIsHarmedWhileItIsSent(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			l, file, want := keptLayer(t, layer.Gzip)
			tick(t, file)
			w := &once{do: func() error { return harm(file, want) }}
			err := l.WriteRange(ctx, w, 0, l.Size())
			if w.err != nil {
				t.Fatal(w.err)
			}
			removed := strings.HasPrefix(name, "re") || name == "its directory removed"
			if whole := bytes.Equal(w.Bytes(), want); whole != removed || (err == nil) != removed || w.Len() == len(want) && !whole {
				t.Errorf("%d bytes of %d, %v", w.Len(), len(want), err)
			}
			if !bytes.Equal(whole(t, l), want) {
				t.Error("the next answer is wrong")
			}
		})
	}
}

// A file that was touched, or put back from a copy, is read through and stays.
func TestKeptBlobIsTouched(t *testing.T) {
	for name, touch := range map[string]func(file string, want []byte) error{
		"touched": func(f string, _ []byte) error { return os.Chtimes(f, time.Now(), time.Now()) },
		"linked":  func(f string, _ []byte) error { return os.Link(f, f+".copy") },
		"put back": func(f string, want []byte) error {
			return inPlaceOf(f, func(n string) error { return os.WriteFile(n, want, 0o600) })
		},
	} {
		l, file, want := keptLayer(t, layer.Zstd)
		if err := touch(file, want); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if !bytes.Equal(whole(t, l), want) {
				t.Errorf("%s: wrong bytes", name)
			}
		}
		if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the file was made again, %v", name, err)
		}
	}
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

// The order of use is told to the next process at the end, not before: a file that is touched looks changed.
func TestBlobsRememberTheirUse(t *testing.T) {
	l, file, _ := keptLayer(t, layer.Gzip)
	old := time.Unix(1000, 0)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	whole(t, l)
	b := mustBlobs(t, filepath.Dir(file), 1<<30)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	unused, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CloseBlobs(); err != nil {
		t.Fatal(err)
	}
	if used, err := os.Stat(file); err != nil || !used.ModTime().After(unused.ModTime()) {
		t.Errorf("%v, then %v, %v", unused.ModTime(), used.ModTime(), err)
	}
}
