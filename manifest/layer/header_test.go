package layer_test

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// ownedArchive is one of a member, another of the same name, and links.
func ownedArchive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	add := func(h tar.Header) {
		if h.Typeflag == tar.TypeReg {
			h.Size = 3
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, strings.Repeat("x", int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "a.tar", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 9})
	add(tar.Header{Name: "b.tar", Typeflag: tar.TypeSymlink, Linkname: "a.tar"})
	add(tar.Header{Name: "./a.tar", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 1, Gid: 2, Uname: "u", Gname: "g", ModTime: time.Unix(5, 0)})
	add(tar.Header{Name: "c.tar", Typeflag: tar.TypeReg, Mode: 0o644})
	add(tar.Header{Name: "d.tar", Typeflag: tar.TypeReg, Mode: 0o644})
	add(tar.Header{Name: "d.tar", Typeflag: tar.TypeSymlink, Linkname: "c.tar"})
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHeadersOfMembers(t *testing.T) {
	last := layer.Header{Name: "./a.tar", Mode: 0o4755, UID: 1, GID: 2, Uname: "u", Gname: "g", MTime: 5, Size: 3}
	want := []layer.Header{{Name: "c.tar", Mode: 0o644, Size: 3}, last, {}, last, {}, {}}
	for _, packing := range packings {
		m := storetest.New()
		p := m.Add("image.tar", storetest.Files{"": storetest.File(string(pack(t, packing, ownedArchive(t))))})
		a, err := newMaker(t, m).Archive(ctx, object(t, m, p), "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Headers(ctx, []string{"c.tar", "a.tar", "b.tar", "./a.tar", "d.tar", "absent"})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("packed %q: headers are %v, %v; want %v", packing, got, err, want)
		}
	}
}

// An archive that was deleted meanwhile.
func TestHeadersOfAnArchiveThatIsGone(t *testing.T) {
	m := storetest.New()
	p := m.Add("image.tar", storetest.Files{"": storetest.File(string(ownedArchive(t)))})
	a, err := newMaker(t, m).Archive(ctx, object(t, m, p), "")
	if err != nil {
		t.Fatal(err)
	}
	m.Delete(p)
	if got, err := a.Headers(ctx, []string{"a.tar"}); err == nil {
		t.Errorf("headers are %v", got)
	}
}

func TestHeaderIsReadAsItWasWritten(t *testing.T) {
	for _, want := range []layer.Header{
		{Name: "a", Mode: 0o444, UID: 1, GID: 2, Uname: "root", Gname: "wheel", MTime: 1, Size: 5},
		{Name: strings.Repeat("é", 60), UID: 1 << 21, MTime: 1 << 33},
		{Name: "large", Size: 8 << 30},
	} {
		h, err := tar.NewReader(bytes.NewReader(want.Append(nil))).Next()
		if err != nil {
			t.Fatal(err)
		}
		got := layer.Header{
			Name: h.Name, Mode: h.Mode, UID: int64(h.Uid), GID: int64(h.Gid), Uname: h.Uname, Gname: h.Gname, MTime: h.ModTime.Unix(), Size: h.Size,
		}
		if got != want {
			t.Errorf("header %v is read as %v", want, got)
		}
	}
}

func TestEndsOfArchives(t *testing.T) {
	for n, want := range map[int64]int64{0: 10240, 512: 9728, 9216: 1024, 9728: 10752} {
		if got := layer.ArchiveEnd(n); got != want {
			t.Errorf("%d bytes end with %d zeros, want %d", n, got, want)
		}
	}
	for n, want := range map[int64]int64{0: 0, 1: 511, 512: 0, 513: 511} {
		if got := layer.MemberEnd(n); got != want {
			t.Errorf("%d bytes of a member end with %d zeros, want %d", n, got, want)
		}
	}
}
