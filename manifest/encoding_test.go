package manifest_test

import (
	"bytes"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func encodedSource(t *testing.T, m *storetest.Memory, e layer.Encoding) *manifest.Source {
	t.Helper()
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Cache: new(digests.Memory), Encoding: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// TestEncodedImages: the layer types follow the encoding and the dialect; the image ID is the same in all of them.
func TestEncodedImages(t *testing.T) {
	m, _, _ := withHello()
	plain := inspect(t, newSource(t, "", m), "hello", "latest")
	for _, c := range []struct {
		encoding    layer.Encoding
		oci, docker types.MediaType
	}{
		{layer.Tar, types.OCIUncompressedLayer, types.DockerUncompressedLayer},
		{layer.Gzip, types.OCILayer, types.DockerLayer},
		{layer.Zstd, types.OCILayerZStd, types.DockerLayer},
	} {
		src := encodedSource(t, m, c.encoding)
		for mt, want := range map[types.MediaType]types.MediaType{types.OCIManifestSchema1: c.oci, types.DockerManifestSchema2: c.docker} {
			d, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: only(mt)})
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := v1.ParseManifest(bytes.NewReader(d.Data))
			if err != nil || parsed.Config.Digest != plain.Config {
				t.Errorf("%s as %s: image ID %s, %v", c.encoding, mt, parsed.Config.Digest, err)
			}
			for _, l := range parsed.Layers {
				if l.MediaType != want {
					t.Errorf("%s as %s has layers of type %s, not %s", c.encoding, mt, l.MediaType, want)
				}
				digest(t, src, "hello", l.Digest, nil)
			}
			billOf(t, src, "hello", d.Digest)
		}
	}
}

// TestEncodedDigestsAreFoundAgain: in the encoding of each dialect, after the cache was lost.
func TestEncodedDigestsAreFoundAgain(t *testing.T) {
	m, _, _ := withHello()
	before := encodedSource(t, m, layer.Zstd)
	for _, mt := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		d, err := before.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: only(mt)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := encodedSource(t, m, layer.Zstd).Manifest(ctx, manifest.Request{Repository: "hello", Digest: d.Digest}); err != nil {
			t.Errorf("%s: %v", mt, err)
		}
	}
}
