package registry

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type referrersOf map[string][]v1.Descriptor // by digest

func (r referrersOf) Referrers(_ context.Context, repository string, d v1.Hash) ([]v1.Descriptor, error) {
	if repository == "broken" {
		return nil, errors.New("disk on fire")
	}
	return r[d.String()], nil
}

func TestReferrersAreListed(t *testing.T) {
	digest := v1.Hash{Algorithm: "sha256", Hex: hex64}
	sbom := v1.Descriptor{Digest: digest, MediaType: types.OCIManifestSchema1, Size: 3, ArtifactType: "application/spdx+json", Data: []byte("doc")}
	other := v1.Descriptor{Digest: digest, MediaType: types.OCIManifestSchema1, Size: 4, ArtifactType: "application/x", Annotations: map[string]string{"a": "b"}}
	h := &Handler{Referrers: referrersOf{sha256: {sbom, other}}}
	for query, want := range map[string]int{"": 2, "?artifactType=application/spdx%2Bjson": 1, "?artifactType=none": 0} {
		res, body := ask(h, "GET", "/v2/a/referrers/"+sha256+query, nil)
		var index struct {
			Manifests []v1.Descriptor
		}
		if err := json.Unmarshal([]byte(body), &index); err != nil || res.StatusCode != 200 || len(index.Manifests) != want {
			t.Errorf("%s: %d, %v, %s", query, res.StatusCode, err, body)
		}
		for _, d := range index.Manifests {
			if d.Data != nil || d.ArtifactType == "" {
				t.Errorf("%s: descriptor %+v", query, d)
			}
		}
		if got := res.Header.Get("OCI-Filters-Applied"); (got == "artifactType") != (query != "") {
			t.Errorf("%s: OCI-Filters-Applied %q", query, got)
		}
		head, _ := ask(h, "HEAD", "/v2/a/referrers/"+sha256+query, nil)
		if head.Header.Get("Content-Length") != res.Header.Get("Content-Length") {
			t.Errorf("%s: HEAD has other headers", query)
		}
	}
	if res, _ := ask(h, "GET", "/v2/broken/referrers/"+sha256, nil); res.StatusCode != 500 {
		t.Errorf("an error: %d", res.StatusCode)
	}
}
