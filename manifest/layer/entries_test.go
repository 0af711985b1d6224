package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestEntriesGolden pins the bytes of the format root1.
func TestEntriesGolden(t *testing.T) {
	entries := []layer.Entry{
		{Name: "bin/", Mode: 0o755}, {Name: "bin/sh", Mode: 0o777, Link: "/nix/store/" + strings.Repeat("x", 120)},
		{Name: "etc/", Mode: 0o755}, {Name: "etc/empty", Mode: 0o644}, {Name: "etc/passwd", Mode: 0o644, Data: strings.Repeat("root\n", 120)},
		{Name: "etc.d/", Mode: 0o700}, {Name: "tmp/", Mode: 0o1777},
	}
	l := mustOpen(t, newMaker(t, storetest.New()), layer.Recipe{Format: layer.Entries, Entries: entries})
	const want = "68908d93e0b2478360c29aa86beb43e51618274c888672f310dd8068c740a4ec"
	if got := l.DiffID().Hex; got != want {
		t.Errorf("digest is %s, not %s", got, want)
	}
	var lines []string
	tr := tar.NewReader(bytes.NewReader(whole(t, l)))
	for h, err := tr.Next(); !errors.Is(err, io.EOF); h, err = tr.Next() {
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil || h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 315532800 {
			t.Errorf("%s: %v, owner %d:%d, time %v", h.Name, err, h.Uid, h.Gid, h.ModTime)
		}
		lines = append(lines, fmt.Sprintf("%c %o %s %d %s", h.Typeflag, h.Mode, h.Name, len(data), h.Linkname[:min(len(h.Linkname), 14)]))
	}
	if got, want := strings.Join(lines, "\n"), strings.Join([]string{
		"5 755 ./ 0 ", "5 755 ./bin/ 0 ", "2 777 ./bin/sh 0 /nix/store/xxx", "5 755 ./etc/ 0 ", "0 644 ./etc/empty 0 ",
		"0 644 ./etc/passwd 600 ", "5 700 ./etc.d/ 0 ", "5 1777 ./tmp/ 0 ",
	}, "\n"); got != want {
		t.Errorf("entries are\n%s\nnot\n%s", got, want)
	}
}

// TestEntriesRefused: an entry has one meaning, and the order is that of a tar.
func TestEntriesRefused(t *testing.T) {
	m := newMaker(t, storetest.New())
	for name, entries := range map[string][]layer.Entry{
		"absolute":       {{Name: "/etc"}},
		"up":             {{Name: "../etc"}},
		"root":           {{Name: "./"}},
		"empty":          {{Name: ""}},
		"NUL":            {{Name: "a\x00b"}},
		"long":           {{Name: strings.Repeat("a", 99)}},
		"twice":          {{Name: "a"}, {Name: "a/"}},
		"order":          {{Name: "b"}, {Name: "a"}},
		"by bytes":       {{Name: "a-b"}, {Name: "a/b"}},
		"mode":           {{Name: "a", Mode: 0o10000}},
		"negative mode":  {{Name: "a", Mode: -1}},
		"link with data": {{Name: "a", Link: "x", Data: "y"}},
		"directory link": {{Name: "a/", Link: "x"}},
		"directory data": {{Name: "a/", Data: "x"}},
		"bytes":          {{Name: "a", Data: "\xff"}},
		"target":         {{Name: "a", Link: "x\x00"}},
		"too much":       {{Name: "a", Data: strings.Repeat("x", 2<<20)}},
		"too many":       make([]layer.Entry, 1001),
	} {
		if _, err := m.Describe(ctx, layer.Recipe{Format: layer.Entries, Entries: entries}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzEntries(f *testing.F) {
	f.Add("etc/", int64(0o755), "", "", "etc/passwd", "data")
	f.Add("bin/sh", int64(0o777), "/nix/store/x", "", "tmp/", "")
	f.Fuzz(func(t *testing.T, name string, mode int64, link, data, other, more string) {
		r := layer.Recipe{Format: layer.Entries, Entries: []layer.Entry{{Name: name, Mode: mode, Link: link, Data: data}, {Name: other, Data: more}}}
		m := newMaker(t, storetest.New())
		info, err := m.Describe(ctx, r)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		l, err := m.Open(ctx, r, info.Digest)
		if err != nil {
			t.Fatal(err)
		}
		tr := tar.NewReader(bytes.NewReader(whole(t, l)))
		for _, want := range []string{"./", "./" + name, "./" + other} {
			h, err := tr.Next()
			if err != nil || h.Name != want {
				t.Fatalf("%+v, %v; want %q", h, err, want)
			}
		}
	})
}

// TestLayerWithoutObjects has no path to name when its digest is another.
func TestLayerWithoutObjects(t *testing.T) {
	m := newMaker(t, storetest.New())
	for _, format := range []layer.Format{layer.Entries, layer.Symlinks} {
		r := layer.Recipe{Format: format}
		mustOpen(t, m, r)
		if _, err := m.Open(ctx, r, v1.Hash{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", format, err)
		}
	}
}
