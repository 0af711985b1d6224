package manifest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/packages"
)

// Referrers lists the referrers of a manifest of a repository. Each attacher makes one, at the first request. The list is empty for
// an index, and for a digest that the repository does not have: each referrer has the manifest of a platform as its subject, and
// the list may have only documents whose subject is the digest.
//
// Source: OCI distribution-spec 1.1, "Listing Referrers".
func (s *Source) Referrers(ctx context.Context, repository string, digest v1.Hash) ([]v1.Descriptor, error) {
	rec, err := searched(ctx, s, repository, digest, s.records.document)
	switch {
	case isAbsent(err), err == nil && rec.Image == "":
		return nil, nil
	case err != nil:
		return nil, err
	}
	var out []v1.Descriptor
	for _, a := range s.attachers {
		d, err := s.attached(ctx, a, repository, digest)
		if err != nil {
			subject := v1.Descriptor{MediaType: rec.MediaType, Digest: digest, Size: int64(len(rec.Data))}
			d, err = flight.Once(ctx, s.group, a.key(repository, digest), func(ctx context.Context) (*v1.Descriptor, error) {
				return s.attach(ctx, a, repository, rec.Image, subject)
			})
		}
		switch {
		case isAbsent(err): // the store paths of the image are gone, or nixreg did not make the image
		case err != nil:
			return nil, fmt.Errorf("%s of %s: %w", a.name, digest, err)
		default:
			out = append(out, *d)
		}
	}
	return out, nil
}

// Bill is the bill of materials of the image for one platform.
type Bill struct {
	Platform v1.Platform
	Manifest v1.Hash // the image's OCI manifest
	SPDX     []byte  // SPDX 2.3 as JSON, the same bytes as in the manifest's referrer
}

// Bills makes the images of a tag, one for each platform, and returns their bills of materials. For an image that was not made by
// nixreg, whose contents are unknown, the error matches [errors.ErrUnsupported].
func (s *Source) Bills(ctx context.Context, repository, tag string) ([]Bill, error) {
	defs, err := s.catalog.Lookup(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	unknown := fmt.Errorf("%s:%s was made elsewhere: nixreg does not know what is in it: %w", repository, tag, errors.ErrUnsupported)
	if _, _, ok := defs[0].Kind.Archive(); !ok {
		return nil, unknown
	}
	p, err := s.publish(ctx, repository, defs, s.dialectsLike(document.OCI), false)
	if err != nil {
		return nil, err
	}
	var all []Bill
	for _, m := range p.images {
		spdx, err := billOf(ctx, s.env.Store, m)
		if err != nil {
			return nil, err
		}
		platform := v1.Platform{OS: m.OS, Architecture: m.Architecture, Variant: m.Variant}
		all = append(all, Bill{platform, m.Manifest(document.OCI).Digest, spdx})
	}
	return all, nil
}

// referrersTag returns the digest in a tag of the form sha256-<hex>. Clients request that tag to find the referrers of the
// digest, if the registry has no endpoint for referrers.
//
// Source: OCI distribution-spec 1.1, "Referrers Tag Schema".
func referrersTag(tag string) (v1.Hash, bool) {
	hex, ok := strings.CutPrefix(tag, "sha256-")
	if !ok {
		return v1.Hash{}, false
	}
	d, err := v1.NewHash("sha256:" + hex)
	return d, err == nil
}

// referrersIndex returns the index for such a tag. It exists only if the digest has referrers.
func (s *Source) referrersIndex(ctx context.Context, r Request, digest v1.Hash) (*v1.Descriptor, error) {
	list, err := s.Referrers(ctx, r.Repository, digest)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, packages.UnknownTag(r.Repository, r.Tag)
	}
	if _, ok := r.Accept(types.OCIImageIndex); !ok {
		return nil, &unacceptableError{r.Repository, r.Tag}
	}
	d := document.Describe(types.OCIImageIndex, referrersBytes(list))
	return d, s.records.publish(ctx, r.Repository, []link{{digest: d.Digest, document: d}}, true)
}
