package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

const (
	spdxJSON = "application/spdx+json"
	maxBill  = 256 << 20 // bytes of a bill of materials from a registry
)

// Bill is the bill of materials of an image.
type Bill struct {
	SPDX     []byte // JSON
	Platform oci.Platform
	Others   []string // the platforms that the name is there for, too
}

// Bill makes an image and returns its bill of materials. The zero Platform is Linux on this machine's architecture, else amd64,
// else the only one there is.
func (s *Server) Bill(ctx context.Context, image Image, platform oci.Platform) (Bill, error) {
	bills, err := readings(s, image, func(repository string) ([]manifest.Bill, error) { return s.source.Bills(ctx, repository, image.Tag) })
	if err != nil {
		return Bill{}, err
	}
	of := func(b manifest.Bill) oci.Platform { return listing.PlatformOf(&b.Platform) }
	chosen, err := oci.Choose(bills, of, wanted(platform)...)
	if err != nil && (len(bills) != 1 || platform != oci.Platform{}) {
		return Bill{}, err
	} else if err != nil {
		chosen = bills[0]
	}
	found := Bill{SPDX: chosen.SPDX, Platform: of(chosen)}
	for _, b := range bills {
		if b.Manifest != chosen.Manifest {
			found.Others = append(found.Others, of(b).String())
		}
	}
	return found, nil
}

// readings tries the readings of an image's name until one is known. If none is, the error is that of the likeliest reading.
func readings[T any](s *Server, image Image, try func(repository string) (T, error)) (T, error) {
	var first error
	for _, repository := range image.Repositories {
		found, err := try(repository)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
		if first == nil {
			first = err
		}
	}
	var none T
	return none, s.explain(image.Repositories[0], first)
}

// wanted is what a platform is chosen by.
func wanted(p oci.Platform) []oci.Platform {
	if p != (oci.Platform{}) {
		return p.OrAnyVariant()
	}
	return append(oci.Linux(runtime.GOARCH), oci.Linux("amd64")...)
}

// RegistryBill fetches the bill of materials that a registry has as a referrer of an image, docker://HOST/NAME, with the
// credentials of docker login.
func RegistryBill(ctx context.Context, name string, platform oci.Platform, skipVerify bool, log *slog.Logger) (Bill, error) {
	ref, err := pull.ParseReference(name)
	if err != nil {
		return Bill{}, err
	}
	up, err := openUpstream(ref.Host, skipVerify, log)
	if err != nil {
		return Bill{}, err
	}
	at := ref.Tag
	if ref.Digest != (v1.Hash{}) {
		at = ref.Digest.String()
	}
	top, err := up.Manifest(ctx, ref.Repository, at)
	if err != nil {
		return Bill{}, err
	}
	found, image := Bill{Platform: platform}, *top
	if top.MediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(top.Data))
		if err != nil {
			return Bill{}, fmt.Errorf("%s: %w: %w", name, err, fs.ErrInvalid)
		}
		if image, err = listing.Choose(index.Manifests, wanted(platform)...); err != nil {
			return Bill{}, fmt.Errorf("%s: %w", name, err)
		}
		found.Platform = listing.PlatformOf(image.Platform)
		for _, d := range index.Manifests {
			if p := listing.PlatformOf(d.Platform); d.Digest != image.Digest && d.MediaType.IsImage() && p != (oci.Platform{}) {
				found.Others = append(found.Others, p.String())
			}
		}
	}
	found.SPDX, err = attachedBill(ctx, up, ref.Repository, image.Digest)
	return found, err
}

// attachedBill is the document of the first referrer that is one.
func attachedBill(ctx context.Context, up *upstream.Registry, repository string, image v1.Hash) ([]byte, error) {
	list, err := up.Referrers(ctx, repository, image)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(d v1.Descriptor) bool { return d.ArtifactType == spdxJSON })
	if i < 0 {
		return nil, fmt.Errorf("%s has no bill of materials for %s: %w", up.Name(), image, fs.ErrNotExist)
	}
	artifact, err := up.Manifest(ctx, repository, list[i].Digest.String())
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(artifact.Data))
	if err != nil || len(m.Layers) == 0 || m.Layers[0].MediaType != spdxJSON || m.Layers[0].Size < 0 || m.Layers[0].Size > maxBill {
		return nil, fmt.Errorf("%s: the referrer %s is no SPDX document of at most %d bytes: %w", up.Name(), list[i].Digest, maxBill, fs.ErrInvalid)
	}
	body, err := up.Blob(ctx, repository, m.Layers[0].Digest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, m.Layers[0].Size+1))
	if err != nil {
		return nil, err
	}
	if got, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || got != m.Layers[0].Digest {
		return nil, fmt.Errorf("%s: blob %s has other bytes: %w", up.Name(), m.Layers[0].Digest, fs.ErrInvalid)
	}
	return data, nil
}
