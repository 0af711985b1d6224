// Package pull downloads an image from a registry as the archive that nixpkgs' pullImage makes of it.
//
// It owns the syntax of names, the choice of an image from an index, and the verification of all digests. Package upstream
// owns the requests, package dockerarchive the bytes of the archive. It must not know Nix, terminals or credentials.
//
//	ref, err := pull.ParseReference("docker://nginx:1.29")
//	p := pull.Puller{Upstream: hub, Dir: dir}
//	result, err := p.Pull(ctx, pull.Request{Image: ref, Platform: pull.Platform{OS: "linux", Architecture: "amd64"},
//		FinalName: "nginx", FinalTag: "1.29"}, w)
package pull

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/registry/dockerarchive"
)

// writeBuffer is the number of bytes of one write.
const writeBuffer = 256 << 10

// Pull writes the archive of an image to w. The caller closes w. The bytes are those that skopeo 1.9.3 writes for the same
// image with gzip layers. Layers may be compressed with zstd, too, which skopeo 1.9.3 refuses.
//
// Nothing is written before all layers are downloaded and verified. Errors match:
//   - [ErrCorrupt] if bytes do not fit their digest, their size or the configuration;
//   - [errors.ErrUnsupported] for an artifact, Docker's schema 1, an encrypted layer, more than 512 layers, or a digest other
//     than SHA-256;
//   - [fs.ErrNotExist] if the registry does not have the image, or not for the platform;
//   - [fs.ErrInvalid] for a malformed name or platform.
//
// The size of an uncompressed layer is bounded by the disk alone. Four layers are downloaded at the same time. Each takes less
// than 1 MiB of memory, and a zstd layer its window as well: usually 8 MiB, at most 128 MiB.
func (p *Puller) Pull(ctx context.Context, r Request, w io.Writer) (*Result, error) {
	host, repository, err := oci.SplitHost(r.FinalName)
	if err != nil {
		return nil, err
	}
	if !oci.IsTag(r.FinalTag) {
		return nil, errkind.Invalid("image tag %.300q: want %s", r.FinalTag, oci.TagForm)
	}
	if err := r.Platform.Check(); err != nil {
		return nil, err
	}
	img, err := p.resolve(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", r.Image, err)
	}
	layers, err := p.fetch(ctx, r.Image.Repository, img)
	defer closeAll(layers)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", r.Image, err)
	}
	return img.write(ctx, host+"/"+repository, r.FinalTag, layers, w)
}

// write writes the archive of the image.
func (img *image) write(ctx context.Context, name, tag string, layers []*spooled, w io.Writer) (*Result, error) {
	a := dockerarchive.Image{Name: name, Tag: tag, Config: img.config, Layers: make([]dockerarchive.Layer, len(layers))}
	for i, l := range layers {
		a.Layers[i] = dockerarchive.Layer{DiffID: img.diffIDs[i], Size: l.size, Open: l.open}
	}
	out := newHashed(w)
	buf := bufio.NewWriterSize(out, writeBuffer)
	if err := dockerarchive.Write(ctx, buf, a); err != nil {
		return nil, err
	}
	if err := buf.Flush(); err != nil {
		return nil, fmt.Errorf("docker archive: %w", err)
	}
	result := img.result
	result.Hash, result.Size = "sha256-"+base64.StdEncoding.EncodeToString(out.hash.Sum(nil)), out.n
	return &result, nil
}
