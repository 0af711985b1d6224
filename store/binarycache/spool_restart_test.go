package binarycache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// seed fills dir with archives, as an earlier process does.
func seed(t testing.TB, dir string, ns ...*testNAR) {
	t.Helper()
	s := openSpool(t, SpoolOptions{Dir: dir, Size: 1 << 30})
	for _, n := range ns {
		use(t, s, n)
		n.count.Store(0)
	}
	closeSpool(t, s)
}

func TestFileName(t *testing.T) {
	k := keyOf(makeNAR("a", 1).id)
	if got, ok := parseFileName(k.fileName()); !ok || got != k {
		t.Errorf("%s is read as %v, %t", k.fileName(), got, ok)
	}
	name := k.fileName()
	for _, bad := range []string{"", ".nar", "-.nar", name + ".nar", name[1:], strings.Replace(name, "-", "", 1), strings.TrimSuffix(name, narSuffix), "x" + name, strings.Replace(name, "-", "-0", 1)} {
		if _, ok := parseFileName(bad); ok {
			t.Errorf("%q is taken for a file name", bad)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add(keyOf(makeNAR("a", 1).id).fileName())
	f.Fuzz(func(t *testing.T, name string) {
		if k, ok := parseFileName(name); ok && k.fileName() != name {
			t.Errorf("%q is read as %q", name, k.fileName())
		}
	})
}

func TestSpoolRestart(t *testing.T) {
	dir := t.TempDir()
	n := makeNAR("a", 300<<10)
	seed(t, dir, n)
	for _, left := range []string{tempPrefix + "1", "zunknown"} {
		if err := os.WriteFile(filepath.Join(dir, left), n.data[:10], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openSpool(t, SpoolOptions{Dir: dir})
	if got := names(t, dir); !slices.Equal(got, []string{keyOf(n.id).fileName(), "zunknown"}) {
		t.Errorf("files %q", got)
	}
	use(t, s, n)
	use(t, s, n)
	n.fetched(t, 0)
}

// A file's time is one that no later write can give it, and is set before the file is looked at.
func TestSpoolBackdates(t *testing.T) {
	dir := t.TempDir()
	n := makeNAR("a", 10)
	file := filepath.Join(dir, keyOf(n.id).fileName())
	for range 2 { // made, then found
		if err := os.Chtimes(file, time.Now(), time.Now()); err != nil && n.count.Load() > 0 {
			t.Fatal(err)
		}
		s := openSpool(t, SpoolOptions{Dir: dir})
		use(t, s, n)
		fi, err := os.Stat(file)
		if err != nil || time.Since(fi.ModTime()) < time.Second {
			t.Errorf("%v, %v", fi.ModTime(), err)
		}
		if got, _ := filestamp.Of(fi); got != s.files[keyOf(n.id)].state {
			t.Errorf("state %+v, the file's is %+v", s.files[keyOf(n.id)].state, got)
		}
		closeSpool(t, s)
	}
	n.fetched(t, 1)
}

// What lies there under a right name is not believed: it is read and compared.
func TestSpoolTampered(t *testing.T) {
	n := makeNAR("a", 300<<10)
	flipped := bytes.Clone(n.data)
	flipped[len(flipped)/2] ^= 1
	other := makeNAR("b", 300<<10)
	for name, change := range map[string]func(t *testing.T, file string) error{
		"flipped":   func(t *testing.T, file string) error { return os.WriteFile(file, flipped, 0o600) },
		"truncated": func(t *testing.T, file string) error { return os.Truncate(file, n.size-1) },
		"longer": func(t *testing.T, file string) error {
			return os.WriteFile(file, append(bytes.Clone(n.data), 0), 0o600)
		},
		"empty":   func(t *testing.T, file string) error { return os.Truncate(file, 0) },
		"another": func(t *testing.T, file string) error { return os.WriteFile(file, other.data, 0o600) },
		"gone":    func(t *testing.T, file string) error { return os.Remove(file) },
		"a link": func(t *testing.T, file string) error {
			outside := filepath.Join(t.TempDir(), "outside")
			return cmpErr(os.Rename(file, outside), os.Symlink(outside, file))
		},
		"a folder": func(t *testing.T, file string) error { return cmpErr(os.Remove(file), os.Mkdir(file, 0o700)) },
	} {
		for _, when := range []string{"before it is opened", "after"} {
			t.Run(name+" "+when, func(t *testing.T) {
				dir := t.TempDir()
				n.count.Store(0)
				seed(t, dir, n)
				file := filepath.Join(dir, keyOf(n.id).fileName())
				if when == "after" {
					s := openSpool(t, SpoolOptions{Dir: dir})
					if err := change(t, file); err != nil {
						t.Fatal(err)
					}
					use(t, s, n)
				} else {
					if err := change(t, file); err != nil {
						t.Fatal(err)
					}
					if name == "a folder" {
						return // nothing of ours
					}
					use(t, openSpool(t, SpoolOptions{Dir: dir}), n)
				}
				n.fetched(t, 1)
				if data, err := os.ReadFile(file); err != nil || !bytes.Equal(data, n.data) {
					t.Errorf("the file is not mended: %v", err)
				}
			})
		}
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A file that another version of the program let pass is refused, and goes.
func TestSpoolMalformedFile(t *testing.T) {
	dir := t.TempDir()
	n := narWith("a", dirOf("b", "a"))
	if err := os.WriteFile(filepath.Join(dir, keyOf(n.id).fileName()), n.data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, SpoolOptions{Dir: dir})
	for range 2 {
		if _, err := s.acquire(t.Context(), n.wanted); err == nil || !strings.Contains(err.Error(), "after") {
			t.Error(err)
		}
	}
	n.fetched(t, 0)
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// The order of last uses outlives the process.
func TestSpoolOrder(t *testing.T) {
	dir := t.TempDir()
	a, b, c := makeNAR("a", 1000), makeNAR("b", 1000), makeNAR("c", 1000)
	seed(t, dir, a, b, c)
	old := time.Now().Add(-time.Hour)
	for i, n := range []*testNAR{a, b, c} {
		at := old.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(filepath.Join(dir, keyOf(n.id).fileName()), at, at); err != nil {
			t.Fatal(err)
		}
	}
	s := openSpool(t, SpoolOptions{Dir: dir})
	use(t, s, a)
	closeSpool(t, s)
	s = openSpool(t, SpoolOptions{Dir: dir, Size: 2500}) // one has to go
	use(t, s, a)
	use(t, s, c)
	use(t, s, b)
	a.fetched(t, 0)
	c.fetched(t, 0)
	b.fetched(t, 1)
}

// A use long after the first one is written down at the end.
func TestSpoolSavesOrder(t *testing.T) {
	dir := t.TempDir()
	n := makeNAR("a", 1000)
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Dir: dir})
		use(t, s, n)
		time.Sleep(time.Hour)
		use(t, s, n)
		closeSpool(t, s)
		fi, err := os.Stat(filepath.Join(dir, keyOf(n.id).fileName()))
		if err != nil || !fi.ModTime().Equal(time.Now()) {
			t.Errorf("%v, %v", fi.ModTime(), err)
		}
	})
}

const killedEnv = "BINARYCACHE_TEST_SPOOL"

// A process that is killed in the middle of an archive leaves nothing that a later one takes for whole.
func TestSpoolKilled(t *testing.T) {
	n, whole := makeNAR("a", 1<<20), makeNAR("b", 1000)
	if dir := os.Getenv(killedEnv); dir != "" {
		s := openSpool(t, SpoolOptions{Dir: dir})
		use(t, s, whole)
		entered, _ := n.gated()
		go s.acquire(t.Context(), n.wanted)
		<-entered
		fmt.Println("half")
		select {}
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSpoolKilled$")
	cmd.Env = append(os.Environ(), killedEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "half\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if left := names(t, dir); len(left) != 2 || !strings.HasPrefix(left[1], tempPrefix) {
		t.Errorf("left: %q", left)
	}
	s := openSpool(t, SpoolOptions{Dir: dir})
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left after the next start: %q", left)
	}
	use(t, s, n)
	use(t, s, whole)
	n.fetched(t, 1)
	whole.fetched(t, 0)
}

func TestOpenSpoolFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenSpool(SpoolOptions{Dir: file, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}); s != nil || err == nil {
		t.Errorf("a file is taken for a folder: %v", err)
	}
}
