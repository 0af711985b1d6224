package export

import (
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
)

// indexOf lists images of these platforms, the digest of each its number.
func indexOf(platforms ...string) []v1.Descriptor {
	var out []v1.Descriptor
	for i, s := range platforms {
		d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(i)}
		if s != "" {
			p, _, _ := strings.Cut(s, " ")
			want, _ := oci.ParsePlatform(p)
			d.Platform = &v1.Platform{OS: want.OS, Architecture: want.Architecture, Variant: want.Variant}
		}
		if strings.HasSuffix(s, " index") {
			d.MediaType = types.OCIImageIndex
		}
		out = append(out, d)
	}
	return out
}

func TestChoose(t *testing.T) {
	own := "linux/" + runtime.GOARCH
	for name, c := range map[string]struct {
		index []v1.Descriptor
		want  string
		found int // -1: none
	}{
		"asked for":           {indexOf("linux/amd64", "linux/arm64"), "linux/arm64", 1},
		"a variant":           {indexOf("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7", 1},
		"the best variant":    {indexOf("linux/arm/v6", "linux/arm/v7"), "linux/arm", 1},
		"an unknown variant":  {indexOf("linux/arm64", "linux/amd64/v3"), "linux/amd64", 1},
		"none before others":  {indexOf("linux/arm/v6", "linux/arm"), "linux/arm", 1},
		"arm64 is v8":         {indexOf("linux/amd64", "linux/arm64"), "linux/arm64/v8", 1},
		"v8 is arm64":         {indexOf("linux/arm64/v9", "linux/arm64/v8"), "linux/arm64", 1},
		"what runs on all":    {indexOf("linux/arm64"), "linux/arm64/v9", 0},
		"a lesser variant":    {indexOf("linux/arm/v6", "linux/arm"), "linux/arm/v8", 0},
		"a greater variant":   {indexOf("linux/arm/v7"), "linux/arm/v6", -1},
		"another system":      {indexOf("windows/amd64"), "linux/amd64", -1},
		"not an index":        {indexOf("linux/amd64 index", "linux/amd64"), "linux/amd64", 1},
		"this machine":        {indexOf("linux/s390x", own), "", 1},
		"amd64 in its place":  {indexOf("linux/s390x", "linux/amd64"), "", 1},
		"the only one":        {indexOf("linux/s390x"), "", 0},
		"only one, but asked": {indexOf("linux/s390x"), "linux/amd64", -1},
		"unclear":             {indexOf("linux/s390x", "linux/ppc64le"), "", -1},
		"no platforms":        {indexOf("", ""), "", -1},
		"nothing":             {nil, "", -1},
	} {
		want, _ := oci.ParsePlatform(c.want)
		got, err := choose(c.index, want)
		switch {
		case c.found < 0 && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s: %v, %v", name, got, err)
		case c.found >= 0 && (err != nil || got.Size != int64(c.found)):
			t.Errorf("%s: number %d, %v; want %d", name, got.Size, err, c.found)
		}
	}
	_, err := choose(indexOf("linux/s390x", "linux/arm/v7", ""), Platform{OS: "linux", Architecture: "amd64"})
	if want := "no image for linux/amd64, only for linux/s390x, linux/arm/v7"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestOpen(t *testing.T) {
	m, index := twoPlatforms(t)
	arm := Platform{OS: "linux", Architecture: "arm64"}
	img, err := Open(t.Context(), m, index, arm)
	if err != nil {
		t.Fatal(err)
	}
	top := m.documents[img.Digest()]
	if _, err := Open(t.Context(), m, top, arm); err != nil {
		t.Errorf("the image itself: %v", err)
	}
	if _, err := Open(t.Context(), m, top, Platform{}); err != nil {
		t.Errorf("whichever platform: %v", err)
	}
	if _, err := Open(t.Context(), m, top, Platform{OS: "linux", Architecture: "amd64"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another platform: %v", err)
	}
	delete(m.documents, img.Digest())
	if _, err := Open(t.Context(), m, index, arm); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lost: %v", err)
	}
	if all, err := OpenAll(t.Context(), m, index); err != nil || len(all.Missing()) != 1 {
		t.Errorf("lost, of all: %v", err)
	}
}

func TestOpenIsBounded(t *testing.T) {
	m := newMemory()
	top := m.add(t, "amd64", plain("a"))
	for range listing.MaxDepth + 1 {
		top = m.index(t, map[string]*v1.Descriptor{"amd64": top}, "amd64")
	}
	if _, err := OpenAll(t.Context(), m, top); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("too deep: %v", err)
	}
	for _, mt := range []types.MediaType{types.OCIImageIndex, types.OCIManifestSchema1} {
		if _, err := OpenAll(t.Context(), m, &v1.Descriptor{MediaType: mt, Data: []byte("x")}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", mt, err)
		}
	}
	if _, err := Open(t.Context(), m, &v1.Descriptor{MediaType: types.OCIImageIndex, Data: []byte("x")}, Platform{}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no index: %v", err)
	}
}
