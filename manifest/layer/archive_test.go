package layer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func dockerArchive(t *testing.T, packing layer.Compression) string {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	add := func(h tar.Header, data string) {
		h.Size, h.Mode = int64(len(data)), 0o644
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "a/layer.tar"}, strings.Repeat("layer a ", 20000))
	add(tar.Header{Name: "b/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"}, "")
	add(tar.Header{Name: "c/layer.tar", Typeflag: tar.TypeLink, Linkname: "a/layer.tar"}, "")
	add(tar.Header{Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"}, "")
	add(tar.Header{Name: "./manifest.json"}, "[]")
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return string(pack(t, packing, b.Bytes()))
}

func pack(t testing.TB, p layer.Compression, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var zw io.WriteCloser = gzip.NewWriter(&out)
	switch p {
	case "":
		return b
	case layer.Zstandard:
		enc, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		zw = enc
	}
	if _, err := zw.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var packings = []layer.Compression{"", layer.Gzipped, layer.Zstandard}

func object(t *testing.T, s store.Store, p store.Path) *store.Object {
	t.Helper()
	o, err := s.Object(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestArchiveMembers(t *testing.T) {
	for _, packing := range packings {
		t.Run("packed "+string(packing), func(t *testing.T) {
			m := storetest.New()
			p := m.Add("image.tar", storetest.Files{"": storetest.File(dockerArchive(t, packing))})
			a, err := newMaker(t, m).Archive(ctx, object(t, m, p), "")
			if err != nil {
				t.Fatal(err)
			}
			if b, err := a.Read(ctx, "manifest.json", 10); err != nil || string(b) != "[]" {
				t.Errorf("manifest.json is %q, %v", b, err)
			}
			if _, err := a.Read(ctx, "a/layer.tar", 10); !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("a large member: %v", err)
			}
			for _, member := range []string{"a/layer.tar", "b/layer.tar", "c/layer.tar"} {
				r, err := a.Recipe(member)
				if err != nil {
					t.Fatal(err)
				}
				l := mustOpen(t, newMaker(t, m), r)
				if got := string(whole(t, l)); got != strings.Repeat("layer a ", 20000) {
					t.Errorf("%s has %d other bytes", member, len(got))
				}
				var b bytes.Buffer
				if err := l.WriteRange(ctx, &b, 100_006, 10); err != nil || b.String() != "a layer a " {
					t.Errorf("range of %s is %q, %v", member, b.String(), err)
				}
			}
			for _, member := range []string{"absent", "loop"} {
				if _, err := a.Recipe(member); !errors.Is(err, fs.ErrInvalid) {
					t.Errorf("%s: %v", member, err)
				}
			}
		})
	}
}

// TestMemberTwice: of several members of a name the last one counts, whether it is remembered or too large for that.
func TestMemberTwice(t *testing.T) {
	for _, size := range []int{10, 2 << 20} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, data := range []string{"the first", strings.Repeat("x", size)} {
			if err := tw.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(data)), Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
			if _, err := tw.Write([]byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		m := storetest.New()
		p := m.Add("image.tar", storetest.Files{"": storetest.File(b.String())})
		a, err := newMaker(t, m).Archive(ctx, object(t, m, p), "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Read(ctx, "manifest.json", 4<<20); err != nil || len(got) != size {
			t.Errorf("%d bytes, not %d: %v", len(got), size, err)
		}
	}
}

func TestArchiveOfOtherKinds(t *testing.T) {
	m := storetest.New()
	for name, c := range map[string]struct {
		data string
		kind error
	}{
		"xz":        {"\xfd7zXZ\x00rest", errors.ErrUnsupported},
		"garbage":   {strings.Repeat("garbage ", 200), fs.ErrInvalid},
		"truncated": {dockerArchive(t, "")[:5000], fs.ErrInvalid},
		"bad gzip":  {dockerArchive(t, layer.Gzipped)[:100], fs.ErrInvalid},
		"bad zstd":  {dockerArchive(t, layer.Zstandard)[:100], fs.ErrInvalid},
		"gzip tail": {dockerArchive(t, layer.Gzipped) + "rest", fs.ErrInvalid},
	} {
		p := m.Add("image.tar", storetest.Files{"": storetest.File(c.data)})
		if _, err := newMaker(t, m).Archive(ctx, object(t, m, p), ""); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := m.Add("dir", storetest.Files{"x": storetest.File("")})
	if _, err := newMaker(t, m).Archive(ctx, object(t, m, dir), ""); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("directory: %v", err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte("\x1f\x8b"))
	f.Add(make([]byte, 1024))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add(pack(f, layer.Gzipped, make([]byte, 1024)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := storetest.New()
		p := m.Add("image.tar", storetest.Files{"": storetest.File(string(b))})
		a, err := newMaker(t, m).Archive(ctx, object(t, m, p), "")
		if err != nil {
			return
		}
		a.Read(ctx, "manifest.json", 1<<20)
	})
}
