package manifest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// sbomTitle is the file name under which clients store a bill of materials.
const sbomTitle = "sbom.spdx.json"

// Referrers lists what refers to a manifest of a repository: for an image its bill of materials, which is made when it
// is first asked for. Nothing refers to an index, nor to what the repository does not have: each bill's subject is the manifest of a
// platform, and a list may have only what names the digest as its subject.
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
	if d, err := s.records.referrer(ctx, repository, digest); err == nil {
		return []v1.Descriptor{*d}, nil
	}
	subject := v1.Descriptor{MediaType: rec.MediaType, Digest: digest, Size: int64(len(rec.Data))}
	key := fmt.Sprintf("sbom/%s/%s", repository, digest)
	d, err := flight.Once(ctx, s.group, key, func(ctx context.Context) (*v1.Descriptor, error) {
		return s.attach(ctx, repository, rec.Image, subject)
	})
	switch {
	case isAbsent(err): // its store paths are gone: there is nothing to tell
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("bill of materials of %s: %w", digest, err)
	}
	return []v1.Descriptor{*d}, nil
}

// Bill is the bill of materials of the image for one platform.
type Bill struct {
	Platform v1.Platform
	Manifest v1.Hash // the image's OCI manifest
	SPDX     []byte  // SPDX 2.3 as JSON: what a referrer of the manifest has
}

// Bills makes the images of a tag, one for each platform, and returns their bills of materials. That nothing is known of what
// is in an image gives an error matching [errors.ErrUnsupported].
func (s *Source) Bills(ctx context.Context, repository, tag string) ([]Bill, error) {
	defs, err := s.catalog.Lookup(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	unknown := fmt.Errorf("%s:%s was made elsewhere: nixreg does not know what is in it: %w", repository, tag, errors.ErrUnsupported)
	if isLayout(defs) {
		return nil, unknown
	}
	p, err := s.make(ctx, repository, defs, s.dialectsLike(document.OCI), false)
	if err != nil {
		return nil, err
	}
	var all []Bill
	for _, m := range p.images {
		if m.Ready {
			return nil, unknown
		}
		objects, err := s.contained(ctx, m)
		if err != nil {
			return nil, err
		}
		platform := v1.Platform{OS: m.OS, Architecture: m.Architecture, Variant: m.Variant}
		all = append(all, Bill{platform, m.Manifest(document.OCI).Digest, sbomBytes(m, objects)})
	}
	return all, nil
}

func referrerKey(repository string, subject v1.Hash) string {
	return "referrer/" + repository + "/" + subject.String()
}

// attach makes the bill of materials of an image and records it as a referrer of one of its manifests.
func (s *Source) attach(ctx context.Context, repository, imageKey string, subject v1.Descriptor) (*v1.Descriptor, error) {
	m, err := s.records.image(ctx, imageKey)
	if err != nil {
		return nil, err
	}
	if m.Ready {
		return nil, fault.Absent(fmt.Sprintf("nothing is known of what is in image %s", m.Config))
	}
	objects, err := s.contained(ctx, m)
	if err != nil {
		return nil, err
	}
	sbom := sbomBytes(m, objects)
	content := v1.Descriptor{MediaType: spdxJSON, Digest: document.Digest(sbom), Size: int64(len(sbom))}
	artifact := document.Describe(types.OCIManifestSchema1, artifactBytes(subject, content, sbomTitle))
	artifact.ArtifactType = string(spdxJSON)
	for _, blob := range [][]byte{sbom, []byte(emptyConfig)} {
		if err := s.records.putInline(ctx, repository, blob); err != nil {
			return nil, err
		}
	}
	if err := s.records.putDocument(ctx, repository, artifact, ""); err != nil {
		return nil, err
	}
	artifact.Data = nil
	return artifact, s.records.put(ctx, referrerKey(repository, subject.Digest), artifact)
}

// contained returns the store paths in an image, sorted. One that is not what the image was made from gives an error
// matching io/fs.ErrNotExist.
func (s *Source) contained(ctx context.Context, m *document.Image) ([]*store.Object, error) {
	var out []*store.Object
	seen := make(map[store.Path]bool)
	for _, l := range m.Layers {
		if l.Recipe.Format != layer.StorePaths {
			continue
		}
		for _, ref := range l.Recipe.Objects {
			o, err := s.store.Object(ctx, ref.Path)
			if err != nil {
				return nil, err
			}
			if o.NarHash != ref.NarHash {
				return nil, fault.Absent(fmt.Sprintf("store path %s was replaced by one with other contents", ref.Path))
			}
			if !seen[o.Path] {
				seen[o.Path] = true
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, func(a, b *store.Object) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return out, nil
}

// referrersTag is the digest in a tag of the form sha256-<hex>, under which clients look for referrers where a registry
// has no endpoint for them.
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

// referrersIndex is the index behind such a tag; it exists only if something refers to the digest.
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
	return d, s.records.putDocument(ctx, r.Repository, d, "")
}
