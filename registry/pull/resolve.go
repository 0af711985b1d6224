package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci/listing"
)

const (
	maxConfig = 4 << 20 // bytes of a configuration, as containers/image has it
	maxLayers = 512     // each is an open file; overlay takes 128
)

// image is what a request means.
type image struct {
	result   Result
	manifest *v1.Manifest
	config   []byte
	diffIDs  []v1.Hash  // as many as the manifest has layers
	layers   []*spooled // the same, once they have come
}

// resolve finds out what a request means. The layers are not there yet.
func (p *Puller) resolve(ctx context.Context, r Request) (*image, error) {
	d, err := p.manifest(ctx, r, r.Image.ask())
	if err != nil {
		return nil, err
	}
	img := &image{result: Result{Digest: d.Digest}}
	if d.MediaType.IsIndex() {
		if d, err = p.fromIndex(ctx, r, d); err != nil {
			return nil, err
		}
	}
	img.result.Manifest = d.Digest
	if img.manifest, err = parseManifest(d); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	img.result.Config = img.manifest.Config.Digest
	if img.config, err = p.config(ctx, r.Image.Repository, img.manifest.Config); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", img.manifest.Config.Digest, err)
	}
	if err := img.parseConfig(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", img.manifest.Config.Digest, err)
	}
	if got := img.result.Platform; got.OS != r.Platform.OS || got.Architecture != r.Platform.Architecture {
		p.log().Warn("the image is for another platform", "image", r.Image.String(), "platform", got, "wanted", r.Platform)
	}
	return img, nil
}

// manifest gets a manifest; its media type is one of [listing.Documents].
func (p *Puller) manifest(ctx context.Context, r Request, ref string) (*v1.Descriptor, error) {
	d, err := p.Upstream.Manifest(ctx, r.Image.Repository, ref, listing.Documents()...)
	if err != nil {
		return nil, err
	}
	mt, err := kindOf(d)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return &v1.Descriptor{MediaType: mt, Digest: d.Digest, Data: d.Data}, nil
}

// fromIndex gets the manifest that an index has for the platform.
func (p *Puller) fromIndex(ctx context.Context, r Request, d *v1.Descriptor) (*v1.Descriptor, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(d.Data))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", d.Digest, malformed(err))
	}
	chosen, err := choose(index.Manifests, d.MediaType == types.OCIImageIndex, r.Platform)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", d.Digest, err)
	}
	m, err := p.manifest(ctx, r, chosen.Digest.String())
	if err != nil {
		return nil, err
	}
	if m.MediaType.IsIndex() {
		return nil, unsupported("index %s: has an index in the place of an image", d.Digest)
	}
	return m, nil
}

// choose returns the image of a list that is for a platform. In an index of OCI's, one that does not say what it is for will do
// if no other does, as it does for containers/image 5.22.
func choose(list []v1.Descriptor, ofOCI bool, p Platform) (v1.Descriptor, error) {
	chosen, err := listing.Choose(list, p)
	if i := slices.IndexFunc(list, func(d v1.Descriptor) bool { return d.Platform == nil }); err != nil && ofOCI && i >= 0 {
		return list[i], nil
	}
	return chosen, err
}

// fields are the ones by which manifests differ.
type fields struct {
	MediaType types.MediaType `json:"mediaType"`
	Manifests json.RawMessage `json:"manifests"`
	Layers    json.RawMessage `json:"layers"`
	FSLayers  json.RawMessage `json:"fsLayers"`
}

// kindOf says which of the accepted kinds a manifest is: the one of its Content-Type, or where that says nothing the
// one of its mediaType. A manifest that could be taken for two kinds is refused, whoever would take it for which.
func kindOf(d *v1.Descriptor) (types.MediaType, error) {
	var f fields
	if err := json.Unmarshal(d.Data, &f); err != nil {
		return "", malformed(err)
	}
	mt := types.MediaType("")
	if s, _, err := mime.ParseMediaType(string(d.MediaType)); err == nil {
		mt = types.MediaType(s)
	}
	if !listing.IsDocument(mt) && !mt.IsSchema1() {
		mt = f.MediaType
	}
	switch {
	case f.FSLayers != nil || mt.IsSchema1():
		return "", unsupported("is in Docker's old format, schema 1: push the image anew with a Docker of this decade")
	case !listing.IsDocument(mt):
		return "", unsupported("is of type %.100q, which is no image", mt)
	case mt.IsIndex() && f.Layers != nil || mt.IsImage() && f.Manifests != nil:
		return "", corrupt("is an index and an image")
	}
	return mt, nil
}

// parseManifest checks that a manifest is that of an image, and one that the archive can hold.
func parseManifest(d *v1.Descriptor) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(d.Data))
	if err != nil {
		return nil, malformed(err)
	}
	// Docker's own manifests had configurations of many types over the years.
	config := m.Config.MediaType
	if d.MediaType == types.OCIManifestSchema1 && config != types.OCIConfigJSON && config != types.DockerConfigJSON {
		return nil, unsupported("has a configuration of type %.100q: an artifact, no image", config)
	}
	if m.Config.Digest == (v1.Hash{}) {
		return nil, corrupt("has no configuration")
	}
	if err := checkDescriptor(m.Config); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return nil, unsupported("has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	for i, l := range m.Layers {
		if !isLayer(l.MediaType) {
			return nil, unsupported("layer %d of %d is of type %.100q: no layer of an image", i+1, len(m.Layers), l.MediaType)
		}
		if err := checkDescriptor(l); err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), err)
		}
	}
	return m, nil
}

// checkDescriptor checks that a blob can be verified.
func checkDescriptor(d v1.Descriptor) error {
	switch {
	case d.Digest == (v1.Hash{}) || d.Size < 0:
		return corrupt("has no digest or no size")
	case d.Digest.Algorithm != "sha256":
		return unsupported("its digest is one of %.20s: only sha256 is known here", d.Digest.Algorithm)
	}
	return nil
}

// isLayer tells layers from what else is in manifests (attestations, encrypted layers). How a layer is compressed is
// seen in its bytes.
func isLayer(mt types.MediaType) bool {
	switch mt {
	case types.OCIUncompressedLayer, types.OCILayer, types.OCILayerZStd,
		types.OCIUncompressedRestrictedLayer, types.OCIRestrictedLayer,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		types.DockerUncompressedLayer, types.DockerLayer, "application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar", types.DockerForeignLayer:
		return true
	}
	return false
}

// config gets the configuration and verifies it.
func (p *Puller) config(ctx context.Context, repo string, d v1.Descriptor) ([]byte, error) {
	body, err := p.Upstream.Blob(ctx, repo, d.Digest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxConfig+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxConfig:
		return nil, unsupported("has more than %d bytes", maxConfig)
	case int64(len(b)) != d.Size:
		return nil, corrupt("has %d bytes, in the manifest %d", len(b), d.Size)
	}
	got, _, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if got != d.Digest {
		return nil, corrupt("the registry's bytes are those of %s", got)
	}
	return b, nil
}

// parseConfig takes from the configuration what is needed of it.
func (img *image) parseConfig() error {
	var c struct {
		Architecture, OS, Variant string
		RootFS                    struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(img.config, &c); err != nil {
		return malformed(err)
	}
	if len(c.RootFS.DiffIDs) != len(img.manifest.Layers) {
		return corrupt("knows %d layers, the manifest %d", len(c.RootFS.DiffIDs), len(img.manifest.Layers))
	}
	img.diffIDs = c.RootFS.DiffIDs
	img.result.Platform = Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
	return nil
}
