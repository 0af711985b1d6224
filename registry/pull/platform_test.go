package pull

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestWanted(t *testing.T) {
	for in, want := range map[Platform][]string{
		{"linux", "amd64", ""}:     {""},
		{"linux", "amd64", "v3"}:   {"v3", ""},
		{"linux", "arm64", ""}:     {"", "v8"},
		{"linux", "arm64", "v8"}:   {"v8", ""},
		{"linux", "arm64", "v9"}:   {"v9", ""},
		{"linux", "arm", ""}:       {"", "v8", "v7", "v6", "v5"},
		{"windows", "arm", "v7"}:   {"v7", "v6", "v5", ""},
		{"linux", "arm", "v5"}:     {"v5", ""},
		{"linux", "riscv64", "x1"}: {"x1", ""},
	} {
		var got []string
		for _, p := range in.wanted() {
			if p.OS != in.OS || p.Arch != in.Arch {
				t.Errorf("%s: wants %s", in, p)
			}
			got = append(got, p.Variant)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: wants variants %q, want %q", in, got, want)
		}
	}
}

func indexOf(platforms ...string) *v1.IndexManifest {
	index := new(v1.IndexManifest)
	for _, s := range platforms {
		d := v1.Descriptor{MediaType: "x/" + "y", Annotations: map[string]string{"for": s}}
		if s != "" {
			p := strings.Split(s+"/", "/")
			d.Platform = &v1.Platform{OS: p[0], Architecture: p[1], Variant: p[2]}
		}
		index.Manifests = append(index.Manifests, d)
	}
	return index
}

func TestNoImageForThePlatform(t *testing.T) {
	_, err := choose(indexOf("linux/amd64", "unknown/unknown", "linux/arm/v7", "linux/amd64"), true, Platform{"linux", "s390x", ""})
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != `no image for linux/s390x, only for ["linux/amd64" "linux/arm/v7"]` {
		t.Errorf("error is %v", err)
	}
	_, err = choose(indexOf("unknown/unknown"), true, Platform{"linux", "s390x", ""})
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "no image for linux/s390x, only for none" {
		t.Errorf("error is %v", err)
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = "linux/" + strings.Repeat("a", 1000+i)
	}
	if _, err := choose(indexOf(many...), true, Platform{"linux", "s390x", ""}); len(err.Error()) > 4000 {
		t.Errorf("error has %d bytes", len(err.Error()))
	}
}

func TestImageWithoutPlatform(t *testing.T) {
	index := indexOf("linux/arm64", "", "linux/amd64")
	if d, err := choose(index, true, Platform{"linux", "amd64", ""}); err != nil || d.Annotations["for"] != "linux/amd64" {
		t.Errorf("chose %q, %v", d.Annotations["for"], err)
	}
	if d, err := choose(index, true, Platform{"linux", "s390x", ""}); err != nil || d.Platform != nil {
		t.Errorf("chose %q, %v", d.Annotations["for"], err)
	}
	if _, err := choose(index, false, Platform{"linux", "s390x", ""}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Docker's list: %v", err)
	}
}
