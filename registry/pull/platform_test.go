package pull

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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

func TestImageWithoutPlatform(t *testing.T) {
	index := indexOf("linux/arm64", "", "linux/amd64")
	if d, err := choose(index.Manifests, true, Platform{OS: "linux", Architecture: "amd64"}); err != nil || d.Annotations["for"] != "linux/amd64" {
		t.Errorf("chose %q, %v", d.Annotations["for"], err)
	}
	if d, err := choose(index.Manifests, true, Platform{OS: "linux", Architecture: "s390x"}); err != nil || d.Platform != nil {
		t.Errorf("chose %q, %v", d.Annotations["for"], err)
	}
	if _, err := choose(index.Manifests, false, Platform{OS: "linux", Architecture: "s390x"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Docker's list: %v", err)
	}
}
