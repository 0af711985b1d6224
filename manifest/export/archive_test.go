package export

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/layer"
)

// listing has a line for each member, with its bytes.
func listed(t *testing.T, archive []byte) string {
	t.Helper()
	var b strings.Builder
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%04o %d:%d %s:%s %d %s %s\n", h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime.Unix(), h.Name, content)
	}
}

func archiveOf(t *testing.T, img *Image, notes Notes) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := img.WriteArchive(t.Context(), &b, notes, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchiveHoldsPlainLayers(t *testing.T) {
	m := newMemory()
	top := m.add(t, "amd64", plain("one"), gzipped(t, "two"), zstded(t, "three"), plain("one"))
	img := open(t, m, top)
	got := archiveOf(t, img, Notes{RepoTags: []string{"app:1"}, MTime: 7})
	name := func(s string) string { return hexSHA256([]byte(s)) + "/layer.tar" }
	var want strings.Builder
	for _, s := range []string{"one", "two", "three", "one"} {
		fmt.Fprintf(&want, "0644 0:0 : 7 %s %s\n", name(s), s)
	}
	config := m.blobs[img.Config()]
	fmt.Fprintf(&want, "0644 0:0 : 7 %s.json %s\n", img.Config().Hex, config)
	fmt.Fprintf(&want, `0644 0:0 : 7 manifest.json [
    {
        "Config": "%s.json",
        "RepoTags": [
            "app:1"
        ],
        "Layers": [
            "%s",
            "%s",
            "%s",
            "%s"
        ]
    }
]
`, img.Config().Hex, name("one"), name("two"), name("three"), name("one"))
	if listing := listed(t, got); listing != want.String() {
		t.Errorf("archive has\n%swant\n%s", listing, want.String())
	}
	if len(got)%10240 != 0 {
		t.Errorf("%d bytes are no whole records", len(got))
	}
}

// A base image's member stays as it is, compressed or not.
func TestArchiveKeepsNamedLayers(t *testing.T) {
	m := newMemory()
	base := gzipped(t, "base")
	img := open(t, m, m.add(t, "amd64", base, plain("own")))
	got := listed(t, archiveOf(t, img, Notes{MTime: 1, Layers: []layer.Header{
		{Name: "base.tar", Mode: 0o400, UID: 5, GID: 6, Uname: "u", Gname: "g", MTime: 9}, {Mode: 0o444, Uname: "root", Gname: "root", MTime: 1},
	}}))
	want := fmt.Sprintf("0400 5:6 u:g 9 base.tar %s\n0444 0:0 root:root 1 %s/layer.tar own\n", base.served, hexSHA256([]byte("own")))
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "\"RepoTags\": [],\n") || !strings.Contains(got, "\"base.tar\",\n") {
		t.Errorf("archive has\n%swant\n%s…", got, want)
	}
}

func TestArchiveNamesAreEscapedAsPythonDoes(t *testing.T) {
	got := string(archiveIndex("c", []string{"<é😀\x7f&\u2028\"\\\n>:1"}, nil))
	want := "[\n    {\n        \"Config\": \"c\",\n        \"RepoTags\": [\n            \"<\\u00e9\\ud83d\\ude00\\u007f&\\u2028\\\"\\\\\\n>:1\"\n        ],\n        \"Layers\": []\n    }\n]"
	if got != want {
		t.Errorf("manifest.json is\n%s\nwant\n%s", got, want)
	}
}

func TestArchiveOfWhatIsNoImage(t *testing.T) {
	m, index := twoPlatforms(t)
	wrong := gzipped(t, "a")
	wrong.plain = []byte("b")
	broken := part{"application/vnd.oci.image.layer.v1.tar+gzip", []byte("\x1f\x8bno gzip"), []byte("a")}
	changed := newMemory()
	changedTop := changed.add(t, "amd64", plain("a"))
	for d, b := range changed.blobs {
		changed.blobs[d] = append(oci.Bytes(" "), b...)
	}
	lost := newMemory()
	lostTop := lost.add(t, "amd64", plain("a"))
	delete(lost.blobs, hashOf([]byte("a")))
	for name, c := range map[string]struct {
		img  *Image
		kind error
	}{
		"an index":       {open(t, m, index), errors.ErrUnsupported},
		"another diffID": {open(t, m, m.add(t, "amd64", wrong)), fs.ErrInvalid},
		"no gzip":        {open(t, m, m.add(t, "amd64", broken)), nil},
		"other config":   {open(t, changed, changedTop), fs.ErrInvalid},
		"no layer":       {open(t, lost, lostTop), fs.ErrNotExist},
	} {
		var b bytes.Buffer
		if err := c.img.WriteArchive(t.Context(), &b, Notes{}, nil); err == nil || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if b.Len() > 0 {
			t.Errorf("%s: %d bytes were written", name, b.Len())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := open(t, m, m.add(t, "amd64", plain("a"))).WriteArchive(ctx, io.Discard, Notes{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

// lying is a blob that has another number of bytes than it says.
type lying struct {
	oci.Bytes
	size int64
}

func (l lying) Size() int64 { return l.size }

func (l lying) WriteRange(ctx context.Context, w io.Writer, _, _ int64) error {
	return l.Bytes.WriteRange(ctx, w, 0, int64(len(l.Bytes)))
}

// lyingLayers are layers that say that they have so many bytes more than they have.
type lyingLayers struct {
	*memory
	more int64
}

func (l lyingLayers) Blob(_ context.Context, d v1.Hash) (Blob, error) {
	b := l.blobs[d]
	if b[0] == '{' {
		return b, nil
	}
	return lying{b, b.Size() + l.more}, nil
}

func TestLayerOfAnotherLength(t *testing.T) {
	for more, kind := range map[int64]error{1: io.ErrUnexpectedEOF, -1: fs.ErrInvalid} {
		m := newMemory()
		img, err := OpenAll(t.Context(), lyingLayers{m, more}, m.add(t, "amd64", plain("layer")))
		if err != nil {
			t.Fatal(err)
		}
		if err := img.WriteArchive(t.Context(), io.Discard, Notes{}, nil); !errors.Is(err, kind) {
			t.Errorf("%+d bytes: %v", more, err)
		}
	}
}

func TestProgressOfAnArchive(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("one"), gzipped(t, "two")))
	var last, total int64
	err := img.WriteArchive(t.Context(), io.Discard, Notes{}, func(done, of int64) {
		if done < last || done > of {
			t.Errorf("%d of %d after %d", done, of, last)
		}
		last, total = done, of
	})
	if err != nil || last != total || last < 6 {
		t.Errorf("%d of %d, %v", last, total, err)
	}
}
