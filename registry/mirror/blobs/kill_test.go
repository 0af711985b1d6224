package blobs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/iotest"
)

const (
	childDir = "NIXREG_TEST_BLOBS_DIR"
	killSize = 256 << 10 // of each blob
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println(fetchUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// fetchUntilKilled fetches and puts blob after blob, in a cache that is too small for them, and prints a line for each
// piece that has arrived.
func fetchUntilKilled(dir string) error {
	c, err := Open(Options{Dir: dir, Max: 5 * killSize})
	if err != nil {
		return err
	}
	hub := c.Origin(0)
	all := contents(10, killSize)
	for n := 0; ; n++ {
		data := all[n%len(all)]
		fetch := func(context.Context) (io.ReadCloser, int64, error) {
			return io.NopCloser(io.TeeReader(iotest.HalfReader(bytes.NewReader(data)), printer{})), int64(len(data)), nil
		}
		if n%4 == 3 {
			err = c.Put(context.Background(), digest(data), data)
		} else {
			err = read(hub, data, fetch)
		}
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

type printer struct{}

func (printer) Write(p []byte) (int, error) {
	fmt.Println("piece")
	return len(p), nil
}

// Whenever the process is killed, what has the name of a blob is one.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	total := 0
	for round := range 20 {
		killAfter(t, dir, 1+round*3)
		total += wantWhole(t, dir)
		c := open(t, Options{Dir: dir, Max: 5 * killSize})
		wantTidy(t, c)
		c.Close()
	}
	if total == 0 {
		t.Error("nothing was ever kept")
	}
}

// killAfter runs a child on dir and kills it when it has printed n lines, in the middle of what comes next.
func killAfter(t *testing.T, dir string, n int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := 0
	for lines.Scan() {
		if said++; said == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || said < n {
		t.Fatalf("the child ended by itself after %d lines: %s", said, lines.Text())
	}
}

// wantWhole checks all blobs in dir and counts them.
func wantWhole(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, completeDir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != d.Name() {
			t.Errorf("%s has %d bytes and the digest %s", d.Name(), len(data), sum)
		}
		n++
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return n
}
