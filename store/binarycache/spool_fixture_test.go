package binarycache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// testNAR is an archive that can be fetched.
type testNAR struct {
	wanted
	data  []byte
	count atomic.Int32 // fetches
}

// makeNAR makes an archive of one file; its size is that of the contents and some 120 bytes more.
func makeNAR(name string, size int) *testNAR {
	contents := strings.Repeat(name+" ", size/(len(name)+1)+1)[:size]
	return narWith(name, narOf("(", "type", "regular", "contents", contents, ")"))
}

func narWith(name string, data []byte) *testNAR {
	part := sha256.Sum256([]byte(name))
	n := &testNAR{data: data}
	n.id = archiveID{store.Path(store.EncodeBase32(part[:20]) + "-" + name), sha256.Sum256(data)}
	n.size = int64(len(data))
	n.fill = func(ctx context.Context, w io.Writer) error {
		n.count.Add(1)
		_, err := w.Write(n.data)
		return err
	}
	return n
}

// gated makes n wait in the middle of its bytes. entered gets a value when it has come there.
func (n *testNAR) gated() (entered, pass chan struct{}) {
	entered, pass = make(chan struct{}, 100), make(chan struct{})
	n.fill = func(ctx context.Context, w io.Writer) error {
		n.count.Add(1)
		if _, err := w.Write(n.data[:n.size/2]); err != nil {
			return err
		}
		entered <- struct{}{}
		select {
		case <-pass:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := w.Write(n.data[n.size/2:])
		return err
	}
	return entered, pass
}

func openSpool(t testing.TB, opts SpoolOptions) *Spool {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	s, err := OpenSpool(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSpool(t, s) })
	return s
}

// closeSpool closes s and checks that nothing is left ahead, and that no fetch is under way.
func closeSpool(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if a := &s.ahead; a.plans != 0 || a.bytes != 0 || len(a.items) != 0 {
		t.Errorf("ahead: %d plans, %d bytes, %d archives", a.plans, a.bytes, len(a.items))
	}
	if s.files.Stats().Growing != 0 || len(s.report.under) != 0 {
		t.Errorf("%+v, %d fetches", s.files.Stats(), len(s.report.under))
	}
}

func get(t testing.TB, s *Spool, n *testNAR) *archive {
	t.Helper()
	a, err := s.acquire(t.Context(), n.wanted)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// use acquires n, reads it and releases it.
func use(t testing.TB, s *Spool, n *testNAR) {
	t.Helper()
	a := get(t, s, n)
	tr := newTree(n.id.path, a)
	defer tr.Close()
	if err := read(t, tr, n); err != nil {
		t.Errorf("%s: %v", n.id.path, err)
	}
}

// read reads the one file of n.
func read(t testing.TB, tr store.Tree, n *testNAR) error {
	t.Helper()
	nd, err := store.Lookup(t.Context(), tr, "")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := tr.WriteFile(t.Context(), &b, nd, 0, nd.Size); err != nil {
		return err
	}
	if !bytes.Contains(n.data, b.Bytes()) || b.Len() == 0 {
		return errors.New("wrong bytes")
	}
	return nil
}

func (n *testNAR) fetched(t testing.TB, want int) {
	t.Helper()
	if got := int(n.count.Load()); got != want {
		t.Errorf("%s: %d fetches, want %d", n.id.path.Name(), got, want)
	}
}

func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
