package diskcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// layout is that of the tests: files by digest, in directories by its first two digits.
var layout = Layout{
	Keys:       "kept/??/*",
	Incomplete: "incoming/new-*",
	Sum: func(key string) (sum [sha256.Size]byte, ok bool) {
		dir, name := filepath.Split(key)
		b, err := hex.DecodeString(name)
		if err != nil || len(b) != len(sum) || dir != "kept/"+name[:2]+"/" {
			return sum, false
		}
		return [sha256.Size]byte(b), true
	},
}

func keyOf(data []byte) string {
	name := fmt.Sprintf("%x", sha256.Sum256(data))
	return "kept/" + name[:2] + "/" + name
}

// content is n bytes that are the same for the same seed.
func content(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func contents(n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = content(uint64(i), size)
	}
	return all
}

func open(t testing.TB, o Options) *Cache {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Max == 0 {
		o.Max = 1 << 30
	}
	o.Layout = layout
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// source has the bytes of one file, and counts.
type source struct {
	data  []byte
	calls int
}

func (s *source) fill(_ context.Context, f *Fill) error {
	s.calls++
	if err := f.Announce(int64(len(s.data))); err != nil {
		return err
	}
	_, err := f.Write(s.data)
	return err
}

// get reads the whole of a file.
func get(c *Cache, data []byte, fill Filler) error {
	f, err := c.Get(context.Background(), keyOf(data), nil, fill)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Wait(context.Background()); err != nil {
		return err
	}
	return wantRange(f, data, 0, int64(len(data)))
}

func wantRange(f *File, data []byte, off, n int64) error {
	var got bytes.Buffer
	if _, err := f.WriteRange(context.Background(), &got, off, n); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), data[off:off+n]) {
		return fmt.Errorf("wrong bytes: %d from %d on", n, off)
	}
	return nil
}

// add puts data into the cache.
func add(t testing.TB, c *Cache, data []byte) {
	t.Helper()
	if err := get(c, data, (&source{data: data}).fill); err != nil {
		t.Fatal(err)
	}
	settle(c)
}

// settle waits until no fill is under way.
func settle(c *Cache) {
	for {
		c.mu.Lock()
		var under *Fill
		for _, f := range c.fills {
			under = f
		}
		c.mu.Unlock()
		if under == nil {
			return
		}
		<-under.job.Done()
	}
}

// kept makes a directory with these files, the last one used last, which no open cache knows.
func kept(t testing.TB, all ...[]byte) (dir string) {
	t.Helper()
	c := open(t, Options{})
	for i, data := range all {
		add(t, c, data)
		used := time.Now().Add(time.Duration(i-len(all)) * time.Hour)
		if err := os.Chtimes(c.Path(keyOf(data)), used, used); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	return c.Dir
}

// wantKept tells which files are kept: one letter each.
func wantKept(t *testing.T, c *Cache, all [][]byte, want string) {
	t.Helper()
	got := make([]byte, len(all))
	for i, data := range all {
		got[i] = '-'
		if _, ok := c.Has(keyOf(data)); ok {
			got[i] = 'k'
		}
	}
	if string(got) != want {
		t.Errorf("kept %s, want %s", got, want)
	}
}

// wantTidy checks that nothing is under way, and that the cache and its directory agree.
func wantTidy(t *testing.T, c *Cache) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(c.Dir, "incoming"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d incomplete files, %v", len(left), err)
	}
	files, err := List(c.Dir, layout)
	var size int64
	for file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if s := c.Stats(); err != nil || s.Files != len(files) || s.Bytes != size || s.Growing != 0 {
		t.Errorf("the cache says %+v, its directory has %d files of %d bytes, %v", s, len(files), size, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		if e.pins != 0 {
			t.Errorf("%s has %d pins", e.key, e.pins)
		}
	}
	if len(c.fills) > 0 || len(c.evicted) > 0 {
		t.Errorf("%d fills, %d descriptors to close", len(c.fills), len(c.evicted))
	}
}

// tick waits until a change of the file moves its ctime.
func tick(t *testing.T, file string) {
	t.Helper()
	before, err := filestamp.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for probe := filepath.Join(t.TempDir(), "probe"); ; {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if now, err := filestamp.Stat(probe); err == nil && now.Ctime > before.Ctime {
			return
		}
	}
}

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

const harmSize = 300_000

// harms are what may happen to a kept file.
var harms = map[string]func(file string, want []byte) error{
	"flipped":        func(f string, want []byte) error { return overwrite(f, 200_000, []byte{want[200_000] ^ 1}) },
	"flipped at end": func(f string, want []byte) error { return overwrite(f, harmSize-1, []byte{want[harmSize-1] ^ 1}) },
	"zeroed":         func(f string, _ []byte) error { return overwrite(f, 200_000, make([]byte, 4096)) },
	"flipped, its time set back": func(f string, want []byte) error {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		return errors.Join(overwrite(f, 200_000, []byte{want[200_000] ^ 1}), os.Chtimes(f, time.Now(), info.ModTime()))
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
	"all removed":           func(f string, _ []byte) error { return os.RemoveAll(filepath.Dir(filepath.Dir(filepath.Dir(f)))) },
}

// A harmed file is filled anew before its first byte is given away, whether the harm is older than the process or not.
func TestHarmed(t *testing.T) {
	data := content(1, harmSize)
	for name, harm := range harms {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				c, s := open(t, Options{}), &source{data: data}
				add(t, c, data)
				file := c.Path(keyOf(data))
				tick(t, file)
				if err := harm(file, data); err != nil {
					t.Fatal(err)
				}
				if restart {
					c.Close()
					c = open(t, Options{Dir: c.Dir})
				}
				for range 2 {
					if err := get(c, data, s.fill); err != nil {
						t.Error(err)
					}
					settle(c)
				}
				if name == "replaced by a full directory" {
					return // nothing can be kept
				}
				if b, err := os.ReadFile(file); !bytes.Equal(b, data) || s.calls != 1 {
					t.Errorf("%d fills, the file has %d bytes, %v", s.calls, len(b), err)
				}
			})
		}
	}
}

// once is a writer that does something before its first bytes.
type once struct {
	bytes.Buffer
	do func()
}

func (w *once) Write(b []byte) (int, error) {
	if do := w.do; do != nil {
		w.do = nil
		do()
	}
	return w.Buffer.Write(b)
}

// ReadFrom hides that of the buffer, which would take all bytes before the first Write.
func (w *once) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{w}, r) }

// A file that is harmed between the first byte and the last ends the answer before its last byte, for a reader of a kept file and
// for one that has followed the fill. A file that loses its name keeps its bytes.
func TestHarmedWhileItIsSent(t *testing.T) {
	data := content(1, harmSize)
	for name, harm := range harms {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, follow %v", name, follow), func(t *testing.T) {
				c, s := open(t, Options{}), &source{data: data}
				if !follow {
					add(t, c, data)
				}
				f, err := c.Get(t.Context(), keyOf(data), nil, s.fill)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				var failed error
				w := &once{do: func() {
					settle(c)
					tick(t, c.Path(keyOf(data)))
					failed = harm(c.Path(keyOf(data)), data)
				}}
				_, err = f.WriteRange(t.Context(), w, 0, harmSize)
				if failed != nil {
					t.Fatal(failed)
				}
				unnamed := strings.HasPrefix(name, "re") || strings.HasSuffix(name, " removed")
				if whole := bytes.Equal(w.Bytes(), data); whole != unnamed || (err == nil) != unnamed || w.Len() == len(data) && !whole {
					t.Errorf("%d bytes of %d, %v", w.Len(), len(data), err)
				}
				if err != nil && !errors.Is(err, ErrChanged) {
					t.Error(err)
				}
				if err := get(c, data, s.fill); err != nil {
					t.Errorf("the next answer: %v", err)
				}
			})
		}
	}
}

// A file that is harmed while it is sent, and was mended and verified before the last byte, ends the answer as well: the bytes in
// between may have been wrong.
func TestMendedWhileItIsSent(t *testing.T) {
	data := content(1, harmSize)
	for _, follow := range []bool{false, true} {
		c, s := open(t, Options{}), &source{data: data}
		if !follow {
			add(t, c, data)
		}
		f, err := c.Get(t.Context(), keyOf(data), nil, s.fill)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := &once{do: func() {
			settle(c)
			file := c.Path(keyOf(data))
			tick(t, file)
			if err := errors.Join(harms["flipped"](file, data), os.WriteFile(file, data, 0o600), get(c, data, nil)); err != nil {
				t.Error(err)
			}
		}}
		if _, err := f.WriteRange(t.Context(), w, 0, harmSize); !errors.Is(err, ErrChanged) || w.Len() == harmSize {
			t.Errorf("follow %v: %d bytes, %v", follow, w.Len(), err)
		}
	}
}

// A file that was touched, linked, or put back from a copy is verified and stays.
func TestTouched(t *testing.T) {
	data := content(1, 1000)
	for name, touch := range map[string]func(f string) error{
		"touched": func(f string) error { return os.Chtimes(f, time.Now(), time.Now()) },
		"linked":  func(f string) error { return os.Link(f, f+".copy") },
		"put back": func(f string) error {
			return inPlaceOf(f, func(n string) error { return os.WriteFile(n, data, 0o600) })
		},
	} {
		c := open(t, Options{})
		verified := 0
		c.Verify = func(ctx context.Context, key string, r io.Reader) error { verified++; return c.compareSum(ctx, key, r) }
		add(t, c, data)
		tick(t, c.Path(keyOf(data)))
		if err := touch(c.Path(keyOf(data))); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := get(c, data, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if verified != 1 {
			t.Errorf("%s: verified %d times", name, verified)
		}
	}
}

// However many ask for a file of an earlier process, it is verified once, and filled once if it is wrong.
func TestVerifiedOnce(t *testing.T) {
	data := content(1, harmSize)
	for _, harmed := range []bool{false, true} {
		dir, s := kept(t, data), &source{data: data}
		var log bytes.Buffer
		c := open(t, Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		verified := 0
		c.Verify = func(ctx context.Context, key string, r io.Reader) error { verified++; return c.compareSum(ctx, key, r) }
		if harmed {
			if err := harms["flipped"](c.Path(keyOf(data)), data); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := get(c, data, s.fill); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := strings.Count(log.String(), c.Path(keyOf(data))); verified != 1 || s.calls != n || (n == 1) != harmed {
			t.Errorf("harmed %v: verified %d times, %d fills; log: %s", harmed, verified, s.calls, &log)
		}
	}
}

// A caller that still holds the entry of a removed file leaves alone the file that was filled in its place.
func TestVerifyRemoved(t *testing.T) {
	data := content(1, 1000)
	c := open(t, Options{Dir: kept(t, data)})
	stale, err := c.pin(keyOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer c.unpin(stale, nil)
	c.Remove(keyOf(data))
	add(t, c, data)
	f, err := c.Open(t.Context(), keyOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.verify(t.Context(), stale); !errors.Is(err, ErrAbsent) {
		t.Errorf("got %v", err)
	}
	if err := f.Unchanged(); err != nil {
		t.Error(err)
	}
}

// An error that says nothing about a file is returned, and the file stays.
func TestNotOpened(t *testing.T) {
	data := content(1, 1000)
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.EACCES} {
		c := open(t, Options{})
		add(t, c, data)
		opens := c.open
		c.open = func(name string) (*os.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: cause} }
		_, err := c.Get(t.Context(), keyOf(data), nil, (&source{}).fill)
		if err == nil || errors.Is(err, fs.ErrPermission) || cause != syscall.EACCES && !errors.Is(err, cause) {
			t.Errorf("%v: got %v", cause, err)
		}
		if c.open = opens; get(c, data, nil) != nil {
			t.Error("it is lost")
		}
	}
}

// The least recently used file that nobody reads goes. A pinned file stays, though it exceeds Max, and goes by its turn later.
func TestEviction(t *testing.T) {
	c, all := open(t, Options{Max: 300}), contents(6, 100)
	for _, data := range all[:3] {
		add(t, c, data)
	}
	if err := get(c, all[0], nil); err != nil {
		t.Fatal(err)
	}
	add(t, c, all[3])
	wantKept(t, c, all, "k-kk--")
	f, err := c.Open(t.Context(), keyOf(all[2]))
	if err != nil {
		t.Fatal(err)
	}
	add(t, c, all[4])
	add(t, c, all[5])
	wantKept(t, c, all, "--k-kk")
	c.Max = 100
	add(t, c, all[0])
	wantKept(t, c, all, "--k---")
	if err := wantRange(f, all[2], 0, 100); err != nil {
		t.Error(err)
	}
	f.Close()
	f.Close()
	wantKept(t, c, all, "--k---")
	add(t, c, all[1])
	wantKept(t, c, all, "-k----")
	wantTidy(t, c)
	if s := c.Stats(); s.Fills != 8 || s.Evictions != 7 || s.Hits != 2 {
		t.Errorf("%+v", s)
	}
}

// The order of use outlives the process, however it ends: the time of a file tells it, within a minute.
func TestOrderOutlivesRestart(t *testing.T) {
	all := contents(3, 100)
	dir := kept(t, all...)
	c := open(t, Options{Dir: dir})
	for range 2 {
		if err := get(c, all[0], nil); err != nil {
			t.Fatal(err)
		}
	}
	used, err := os.Stat(c.Path(keyOf(all[0])))
	if err != nil || time.Since(used.ModTime()) > time.Minute || time.Since(used.ModTime()) < past {
		t.Errorf("%v, %v", used.ModTime(), err)
	}
	c = open(t, Options{Dir: dir, Max: 200}) // the other was not closed
	wantKept(t, c, all, "k-k")
	wantTidy(t, c)
}

// A use long after the first one moves the time of the file, and is no change of it.
func TestUseIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, c := content(1, 1000), open(t, Options{})
		verified := 0
		c.Verify = func(ctx context.Context, key string, r io.Reader) error { verified++; return c.compareSum(ctx, key, r) }
		add(t, c, data)
		time.Sleep(time.Hour)
		for range 2 {
			if err := get(c, data, nil); err != nil {
				t.Error(err)
			}
		}
		info, err := os.Stat(c.Path(keyOf(data)))
		if err != nil || !info.ModTime().Equal(time.Now().Add(-past)) || verified != 0 {
			t.Errorf("%v, %v; verified %d times", info.ModTime(), err, verified)
		}
		c.Close()
	})
}

// A use changes the time of a file only when nobody reads it, and is no change of the file.
func TestUseIsNoChange(t *testing.T) {
	data := content(1, 1000)
	c := open(t, Options{Dir: kept(t, data)})
	verified := 0
	c.Verify = func(ctx context.Context, key string, r io.Reader) error { verified++; return c.compareSum(ctx, key, r) }
	for range 3 {
		f, err := c.Open(t.Context(), keyOf(data))
		if err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		f.entry.saved -= 3600
		c.mu.Unlock()
		if err := errors.Join(get(c, data, nil), wantRange(f, data, 0, 1000)); err != nil {
			t.Error(err)
		}
		f.Close()
	}
	if verified != 1 {
		t.Errorf("verified %d times", verified)
	}
}

// A file above Max is there for those who read it, counts for nothing and evicts nothing. One of them lingers after its last use.
func TestLargerThanMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small, large, other := content(1, 100), content(2, 301), content(3, 302)
		all := [][]byte{small, large, other}
		c := open(t, Options{Max: 300, Linger: time.Minute})
		defer c.Close()
		add(t, c, small)
		add(t, c, large)
		for range 3 {
			time.Sleep(time.Minute - time.Second)
			if err := get(c, large, nil); err != nil {
				t.Error(err)
			}
		}
		wantKept(t, c, all, "kk-")
		add(t, c, other)
		wantKept(t, c, all, "k-k")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantKept(t, c, all, "k--")
		c.Linger = 0
		add(t, c, large)
		wantKept(t, c, all, "k--")
		wantTidy(t, c)
	})
}

// What a killed process left is removed, as is what exceeds Max. Other files are neither touched nor counted, and no link is followed.
func TestNewLooksAtItsOwnFilesOnly(t *testing.T) {
	data, large := content(1, 100), content(2, 1000)
	dir, hex := kept(t, data, large), filepath.Base(keyOf(data))
	other := filepath.Base(keyOf(nil))
	write := func(elem ...string) string {
		t.Helper()
		file := filepath.Join(append([]string{dir}, elem...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	swept := write("incoming", "new-123")
	foreign := []string{
		write("README"), write("incoming", "notes"), write("incoming", "new-dir", "x"), write("kept", "README"),
		write("kept", "zz", "README"), write("kept", "zz", other), write("kept", other[:2], other[:63]),
		write("kept", hex[:2], hex[:2]+other[2:]+".tmp"), write("kept", "11", "11"+hex[2:], "x"),
	}
	link := filepath.Join(dir, "kept", other[:2], other)
	if err := os.Symlink(filepath.Join(dir, keyOf(data)), link); err != nil {
		t.Fatal(err)
	}
	c := open(t, Options{Dir: dir, Max: 500})
	if s := c.Stats(); s.Files != 1 || s.Bytes != 100 {
		t.Errorf("%+v", s)
	}
	for _, file := range append(foreign, link) {
		if _, err := os.Lstat(file); err != nil {
			t.Error(err)
		}
	}
	for _, file := range []string{swept, filepath.Join(dir, keyOf(large))} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, name := range []string{"kept", "incoming"} {
		dir := t.TempDir()
		if err := os.Symlink(t.TempDir(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{Dir: dir, Layout: layout}); err == nil {
			t.Errorf("%s may lead elsewhere", name)
		}
	}
	file := filepath.Join(dir, "README")
	for _, o := range []Options{{}, {Dir: dir, Max: -1}, {Dir: file}} {
		o.Layout = layout
		if _, err := New(o); err == nil {
			t.Errorf("%+v is opened", o)
		}
	}
}

func TestList(t *testing.T) {
	all := contents(3, 10)
	dir := kept(t, all...)
	got, err := List(dir, layout)
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	for _, data := range all {
		if got[filepath.Join(dir, keyOf(data))] != sha256.Sum256(data) {
			t.Error("wrong sum")
		}
	}
	if got, err := List(filepath.Join(dir, "absent"), layout); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
}

// sendfile is a writer like that of a connection.
type sendfile struct {
	bytes.Buffer
	files []string
}

func (s *sendfile) ReadFrom(r io.Reader) (int64, error) {
	if lr, ok := r.(*io.LimitedReader); ok {
		if f, ok := lr.R.(*os.File); ok {
			s.files = append(s.files, f.Name())
		}
	}
	return s.Buffer.ReadFrom(r)
}

// A range of a whole file goes by sendfile, also to several readers of one File at a time.
func TestSendfile(t *testing.T) {
	data := content(1, harmSize)
	c := open(t, Options{})
	add(t, c, data)
	f, err := c.Open(t.Context(), keyOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, busy := range []bool{false, true} {
		var w sendfile
		if busy {
			f.handle.offset.Lock()
		}
		if _, err := f.WriteRange(t.Context(), &w, 10, 290_000); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(w.Bytes(), data[10:290_010]) || len(w.files) != 1 && (!busy || runtime.GOOS == "linux") {
			t.Errorf("busy %v: %d bytes from %q", busy, w.Len(), w.files)
		}
	}
}
