// Package pull downloads an image from a registry as the archive that nixpkgs' pullImage makes of it.
//
// It owns what a name means, which image of an index is taken, that everything is what its digest says, and files that
// are there whole or not at all. The wire is package upstream's, the bytes of an archive are package dockerarchive's. It
// knows nothing of Nix, terminals or credentials.
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
	"log/slog"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/registry/dockerarchive"
)

// writeBuffer is how many bytes of the archive are written at once.
const writeBuffer = 256 << 10

// Upstream is the registry that an image comes from. Safe for concurrent use.
type Upstream interface {
	// Manifest gives the bytes of a manifest in Data, with its exact media type and the digest of the bytes, which is
	// ref if that is a digest. Data has a bound.
	Manifest(ctx context.Context, repo, ref string, accept ...types.MediaType) (*v1.Descriptor, error)
	// Blob gives the bytes of a blob, which are verified here; the caller closes it.
	Blob(ctx context.Context, repo string, d v1.Hash) (io.ReadCloser, error)
}

// Platform is what an image is for.
type Platform = oci.Platform

// Request says what to pull, and how it is called in the archive.
type Request struct {
	Image    Reference
	Platform Platform
	// FinalName is normalized as Docker does it: nginx is docker.io/library/nginx in the archive.
	FinalName, FinalTag string
}

// Result says what was pulled.
type Result struct {
	Digest   v1.Hash  // what the name meant: the index, if there is one
	Manifest v1.Hash  // of the image; equals Digest if there is no index
	Config   v1.Hash  // of the configuration: Docker's image ID
	Platform Platform // as the configuration has it
	Hash     string   // of the archive, as SRI: sha256-BASE64
	Size     int64    // of the archive in bytes
}

// Puller pulls images. Its fields must not change any more once it is used; it is safe for concurrent use.
type Puller struct {
	Upstream Upstream
	// Dir is where uncompressed layers wait until all are there: room for a second copy of the image. They are files
	// without a name: whatever happens, nothing is left of them but an empty one, if the process is killed when it makes it.
	Dir string
	// Log gets what is odd about an image and no error; nil is silent.
	Log *slog.Logger
	// Progress is told how many of how many compressed bytes have come, often, and never twice at the same time; nil is
	// nobody.
	Progress func(done, total int64)
}

// Pull writes the archive of an image to w, which the caller closes. The bytes are those that skopeo 1.9.3 writes for
// the same image with layers in gzip; for layers in zstd too, though skopeo 1.9.3 takes none that are said to be zstd.
//
// Nothing is written before every layer is there and verified. What is not what its digest, its size or the
// configuration say is an error matching [ErrCorrupt]; what is no image (an artifact, Docker's schema 1, an encrypted
// layer), or has more than 512 layers or other digests than SHA-256, one matching [errors.ErrUnsupported]; an index
// without the platform and what the registry does not have, one matching [fs.ErrNotExist]; a name or a platform that is
// none, one matching [fs.ErrInvalid]. There is no limit to what a layer may grow to when it is uncompressed: that limit
// is the disk. In memory each of the four layers that come at the same time has less than 1 MiB, and if it is in zstd as
// much as it refers back to: usually 8 MiB, at most 128.
func (p *Puller) Pull(ctx context.Context, r Request, w io.Writer) (*Result, error) {
	host, repository, err := oci.SplitHost(r.FinalName)
	if err != nil {
		return nil, err
	}
	if !oci.IsTag(r.FinalTag) {
		return nil, invalid("image tag %.300q: want %s", r.FinalTag, oci.TagForm)
	}
	if err := r.Platform.Check(); err != nil {
		return nil, err
	}
	img, err := p.resolve(ctx, r)
	if err == nil {
		defer img.close()
		err = p.fetch(ctx, r.Image.Repository, img)
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", r.Image, err)
	}
	return img.write(ctx, host+"/"+repository, r.FinalTag, w)
}

// write writes the archive of an image that is complete.
func (img *image) write(ctx context.Context, name, tag string, w io.Writer) (*Result, error) {
	a := dockerarchive.Image{Name: name, Tag: tag, Config: img.config, Layers: make([]dockerarchive.Layer, len(img.layers))}
	for i, l := range img.layers {
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

func (p *Puller) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}
