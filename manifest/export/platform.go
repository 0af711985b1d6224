package export

import (
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

// Platform is a system that an image is for. The zero Platform is for one that is likely to be meant.
type Platform = oci.Platform

// choose finds the image for a platform among those of an index. With the zero Platform it is that for Linux on this machine's
// architecture; or else on amd64; or else the only one. None gives an error matching [fs.ErrNotExist] that lists them.
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

// is reports as an error that an image is one of another platform.
func (img *Image) is(ctx context.Context, want Platform) error {
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
