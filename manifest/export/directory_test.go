package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
)

// Those who write to one layout at the same time lose nothing of each other, nor do those that fail meanwhile.
func TestLayoutIsSharedByMany(t *testing.T) {
	m := newMemory()
	good := open(t, m, m.add(t, "amd64", plain("a")))
	bad := open(t, m, m.add(t, "amd64", plain("a"), plain("b")))
	m.blobs[hashOf([]byte("b"))] = oci.Bytes("c")
	dir := filepath.Join(t.TempDir(), "new")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if err := bad.WriteLayout(t.Context(), dir, "bad", nil); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("wrong bytes: %v", err)
			}
		})
		all.Go(func() {
			if err := good.WriteLayout(t.Context(), dir, fmt.Sprint("n", i), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := namesIn(t, dir); len(got) != 8 {
		t.Errorf("index has %d images, not 8: %v", len(got), got)
	}
	for d := range map[v1.Hash]bool{good.Digest(): true, good.Config(): true, hashOf([]byte("a")): true} {
		if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", d.Hex)); err != nil {
			t.Error(err)
		}
	}
}

// whileReading are blobs that call f before they are read.
type whileReading struct {
	*memory
	f func()
}

func (w whileReading) Blob(ctx context.Context, d v1.Hash) (Blob, error) {
	w.f()
	return w.memory.Blob(ctx, d)
}

// One that waits for its turn ends with its context.
func TestLayoutIsWaitedFor(t *testing.T) {
	m := newMemory()
	ready := open(t, m, m.add(t, "amd64", plain("a")))
	dir := filepath.Join(t.TempDir(), "new")
	write(t, ready, dir, "x")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tried := 0
	slow, err := OpenAll(t.Context(), whileReading{m, func() {
		tried++
		if err := ready.WriteLayout(ended, dir, "y", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("while another writes: %v", err)
		}
	}}, m.add(t, "amd64", plain("b")))
	if err != nil {
		t.Fatal(err)
	}
	write(t, slow, dir, "z")
	if got := namesIn(t, dir); len(got) != 2 || got["x"] != ready.Digest() || got["z"] != slow.Digest() || tried == 0 {
		t.Errorf("index has %v", got)
	}
}

// What an export that was killed has left is removed by the next one, and nothing else.
func TestLayoutIsSwept(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	dir := t.TempDir()
	for _, name := range []string{tempName + "1", tempName + "2"} { // before there was anything else
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(t, img, dir, "x")
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, tempName+"3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, img, dir, "y")
	if got := files(t, dir); !slices.Equal(got, []string{"index.json", "notes", "oci-layout"}) {
		t.Errorf("beside blobs: %v", got)
	}
}

func TestLayoutThatIsNoDirectory(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	dir := t.TempDir()
	nowhere, file := filepath.Join(dir, "nowhere"), filepath.Join(dir, "file")
	if err := errors.Join(os.Symlink("absent", nowhere), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{nowhere, file, filepath.Join(file, "x"), filepath.Join(dir, "a", "b")} {
		if err := img.WriteLayout(t.Context(), name, "x", nil); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if got := files(t, dir); !slices.Equal(got, []string{"file", "nowhere"}) {
		t.Errorf("left: %v", got)
	}
}

// TestLayoutOfAPipe: what is no directory is an error, and nobody waits for it.
func TestLayoutOfAPipe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(dir, 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	if err := open(t, m, m.add(t, "amd64", plain("a"))).WriteLayout(t.Context(), dir, "", nil); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("error is %v", err)
	}
}
