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
	maxConfig = 4 << 20 // bytes of a configuration; the limit of containers/image
	maxLayers = 512     // each is an open file; overlay mounts 128
)

// image is the image of a request, without the bytes of its layers.
type image struct {
	result   Result
	manifest *v1.Manifest
	config   []byte
	diffIDs  []v1.Hash // of the layers of the manifest
}

// resolve downloads the manifest and the configuration of a request.
func (p *Puller) resolve(ctx context.Context, r Request) (*image, error) {
	d, err := p.manifest(ctx, r, r.Image.tagOrDigest())
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

// manifest downloads a manifest or an index. Its media type is one of [listing.Documents].
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

// fromIndex downloads the manifest of the platform from an index.
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
		return nil, unsupported("index %s: lists an index as the image", d.Digest)
	}
	return m, nil
}

// choose returns the image for a platform from a list. If an OCI index has none, choose returns an image without a platform, as
// containers/image 5.22 does.
func choose(list []v1.Descriptor, ofOCI bool, p Platform) (v1.Descriptor, error) {
	chosen, err := listing.Choose(list, p)
	if i := slices.IndexFunc(list, func(d v1.Descriptor) bool { return d.Platform == nil }); err != nil && ofOCI && i >= 0 {
		return list[i], nil
	}
	return chosen, err
}

// fields are the fields that tell the kinds of manifests apart.
type fields struct {
	MediaType types.MediaType `json:"mediaType"`
	Manifests json.RawMessage `json:"manifests"`
	Layers    json.RawMessage `json:"layers"`
	FSLayers  json.RawMessage `json:"fsLayers"`
}

// kindOf returns the media type of a manifest: its Content-Type, or its mediaType if the Content-Type is no known one. It
// refuses a manifest that has the fields of two kinds.
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
		return "", unsupported("is in Docker's old format, schema 1: push the image again with a newer Docker")
	case !listing.IsDocument(mt):
		return "", unsupported("is of type %.100q, not an image", mt)
	case mt.IsIndex() && f.Layers != nil || mt.IsImage() && f.Manifests != nil:
		return "", corrupt("is an index and an image")
	}
	return mt, nil
}

// parseManifest parses the manifest of an image, and checks that the archive can hold the image.
func parseManifest(d *v1.Descriptor) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(d.Data))
	if err != nil {
		return nil, malformed(err)
	}
	// Docker's manifests have had configurations of many types.
	config := m.Config.MediaType
	if d.MediaType == types.OCIManifestSchema1 && config != types.OCIConfigJSON && config != types.DockerConfigJSON {
		return nil, unsupported("has a configuration of type %.100q: an artifact, not an image", config)
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
			return nil, unsupported("layer %d of %d is of type %.100q, not a layer of an image", i+1, len(m.Layers), l.MediaType)
		}
		if err := checkDescriptor(l); err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), err)
		}
	}
	return m, nil
}

// checkDescriptor checks that a descriptor has what is needed to verify the blob.
func checkDescriptor(d v1.Descriptor) error {
	switch {
	case d.Digest == (v1.Hash{}) || d.Size < 0:
		return corrupt("has no digest or no size")
	case d.Digest.Algorithm != "sha256":
		return unsupported("its digest is %.20s: only sha256 is supported", d.Digest.Algorithm)
	}
	return nil
}

// isLayer reports whether a media type is that of a layer, and not of an attestation or an encrypted layer. The compression is
// read from the bytes of the layer.
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

// config downloads the configuration and verifies it.
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

// parseConfig reads the platform and the diffIDs from the configuration.
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
		return corrupt("lists %d layers, the manifest %d", len(c.RootFS.DiffIDs), len(img.manifest.Layers))
	}
	img.diffIDs = c.RootFS.DiffIDs
	img.result.Platform = Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
	return nil
}
