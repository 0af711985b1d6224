package manifest

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/catalog"
)

// Manifest returns the requested manifest or index.
func (s *Source) Manifest(ctx context.Context, r Request) (*v1.Descriptor, error) {
	if r.Tag == "" {
		return s.manifestByDigest(ctx, r.Repository, r.Digest)
	}
	if d, ok := referrersTag(r.Tag); ok {
		return s.referrersIndex(ctx, r, d)
	}
	return s.manifestByTag(ctx, r)
}

// Tags lists the tags of a repository, sorted by bytes.
func (s *Source) Tags(ctx context.Context, repository string) ([]string, error) {
	p, err := s.catalog.Owner(ctx, repository)
	if err != nil {
		return nil, err
	}
	return p.Tags(ctx, repository)
}

// Repositories lists the names of the image files and of the packages with programs, sorted by bytes. Clients can pull each of
// them.
func (s *Source) Repositories(ctx context.Context) ([]string, error) {
	return s.catalog.Repositories(ctx)
}

// Catalog is the catalogue of the source: [catalog.Catalog.Offers], [catalog.Catalog.Faults] and so on.
func (s *Source) Catalog() *catalog.Catalog { return s.catalog }
