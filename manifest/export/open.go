package export

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
)

// Platform is the operating system and architecture of an image. The zero Platform means Linux on this machine's architecture,
// else Linux on amd64, else the only image there is.
type Platform = oci.Platform

// OpenAll reads the image of top. If top is an index, it reads all its images that the repository has, see [Image.Missing].
// If there are none, the error matches [fs.ErrNotExist]. If there are too many, it matches [errors.ErrUnsupported].
func OpenAll(ctx context.Context, r Repository, top *v1.Descriptor) (*Image, error) {
	documents, missing, err := listing.Walk(*top, func(d v1.Descriptor) (*entry, []v1.Descriptor, error) {
		if d.Digest == top.Digest {
			return parseDocument(*top)
		}
		read, err := r.Manifest(ctx, d.Digest)
		if err != nil {
			return nil, nil, err
		}
		return parseDocument(*read)
	})
	if err != nil {
		return nil, err
	}
	return &Image{r, documents, missing}, nil
}

// Open reads the image of top. If top is an index, it reads its image for a platform. If there is none for that platform,
// the error matches [fs.ErrNotExist].
func Open(ctx context.Context, r Repository, top *v1.Descriptor, want Platform) (*Image, error) {
	if !top.MediaType.IsIndex() {
		img, err := OpenAll(ctx, r, top)
		if err == nil && want != (Platform{}) {
			err = img.requirePlatform(ctx, want)
		}
		if err != nil {
			return nil, err
		}
		return img, nil
	}
	_, list, err := parseDocument(*top)
	if err != nil {
		return nil, err
	}
	child, err := choose(list, want)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", top.Digest, err)
	}
	desc, err := r.Manifest(ctx, child.Digest)
	if err != nil {
		return nil, err
	}
	return OpenAll(ctx, r, desc)
}

// parseDocument parses a manifest or an index. list holds the descriptors of an index.
func parseDocument(desc v1.Descriptor) (doc *entry, list []v1.Descriptor, err error) {
	doc = &entry{desc: desc}
	if !desc.MediaType.IsIndex() {
		if doc.manifest, err = v1.ParseManifest(bytes.NewReader(desc.Data)); err != nil {
			return nil, nil, fmt.Errorf("manifest %s: %w: %w", desc.Digest, err, fs.ErrInvalid)
		}
		return doc, nil, nil
	}
	if doc.index, err = v1.ParseIndexManifest(bytes.NewReader(desc.Data)); err != nil {
		return nil, nil, fmt.Errorf("index %s: %w: %w", desc.Digest, err, fs.ErrInvalid)
	}
	return doc, doc.index.Manifests, nil
}

// choose returns the image for a platform from the list of an index. Without one, the error matches [fs.ErrNotExist] and
// names the platforms of the list.
func choose(list []v1.Descriptor, want Platform) (v1.Descriptor, error) {
	images := slices.DeleteFunc(slices.Clone(list), func(d v1.Descriptor) bool { return !d.MediaType.IsImage() })
	if want != (Platform{}) {
		return listing.Choose(images, want.OrAnyVariant()...)
	}
	chosen, err := listing.Choose(images, append(oci.Linux(runtime.GOARCH), oci.Linux("amd64")...)...)
	if err != nil && len(images) == 1 {
		return images[0], nil
	}
	return chosen, err
}

// requirePlatform returns an error if the image is for another platform.
func (img *Image) requirePlatform(ctx context.Context, want Platform) error {
	config, err := img.config(ctx)
	if err != nil {
		return err
	}
	var p Platform
	if err := json.Unmarshal(config, &p); err != nil {
		return fmt.Errorf("config %s: %w: %w", img.Config(), err, fs.ErrInvalid)
	}
	_, err = oci.Choose([]Platform{p}, func(p Platform) Platform { return p }, want.OrAnyVariant()...)
	return err
}
