package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/upstream"
)

// maxParts bounds how many blobs of a manifest are recorded as its repository's. For the others, the upstream is asked when a
// client wants them.
const maxParts = 4096

// Manifest implements [registry.Source]. It waits for no blob.
func (m *Mirror) Manifest(ctx context.Context, r registry.Request) (*v1.Descriptor, error) {
	repo, err := m.repository(r.Repository)
	if err != nil {
		return nil, err
	}
	if r.Tag == "" {
		d, err := m.document(ctx, repo, r.Digest)
		return d, answer(err)
	}
	d, err := m.resolve(ctx, repo, r.Tag, r.Warn)
	if err != nil {
		return nil, answer(err)
	}
	return m.negotiate(ctx, repo, d, r)
}

// negotiate returns d, or for a client that does not accept an index its image for linux/amd64, as Docker's registry does. Documents
// are never converted, because that would change their digest.
func (m *Mirror) negotiate(ctx context.Context, repo string, d *v1.Descriptor, r registry.Request) (*v1.Descriptor, error) {
	if _, ok := r.Accept(d.MediaType); ok {
		return d, nil
	}
	if d.MediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(d.Data))
		if err != nil {
			return nil, answer(m.malformed(repo, d.Digest, err))
		}
		accepted := slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool {
			_, ok := r.Accept(d.MediaType)
			return !ok
		})
		child, err := listing.Choose(accepted, oci.Linux("amd64")...)
		if err == nil {
			d, err := m.document(ctx, repo, child.Digest)
			return d, answer(err)
		}
	}
	return nil, publicf("%s/%s:%s is a %.100s, which the client does not accept: %w", m.upstream.Name(), repo, r.Tag, d.MediaType, errors.ErrUnsupported)
}

// document returns a manifest or index by its digest, from disk or from the upstream.
func (m *Mirror) document(ctx context.Context, repo string, digest v1.Hash) (*v1.Descriptor, error) {
	if d, err := m.keptDocument(ctx, repo, digest); d != nil || err != nil {
		return d, err
	}
	key := manifestKey(repo, digest)
	if err := m.failures.get(key, busyKey); err != nil {
		return nil, err
	}
	return once(ctx, &m.flights, key, func(ctx context.Context) (*v1.Descriptor, error) {
		if d, err := m.keptDocument(ctx, repo, digest); d != nil || err != nil {
			return d, err // kept meanwhile
		}
		if err := m.failures.get(key, busyKey); err != nil {
			return nil, err
		}
		d, err := m.upstream.Manifest(ctx, repo, digest.String())
		if err == nil {
			err = m.keep(ctx, repo, d)
		}
		if err != nil {
			m.failures.putDocument(key, err)
			return nil, err
		}
		return d, nil
	})
}

// keptDocument returns a document that is on disk and recorded as the repository's; nil if it is not.
func (m *Mirror) keptDocument(ctx context.Context, repo string, digest v1.Hash) (*v1.Descriptor, error) {
	var known manifestRecord
	ok, err := m.records.get(ctx, manifestKey(repo, digest), &known)
	if err != nil || !ok {
		return nil, err
	}
	data, err := m.blobs.Bytes(ctx, digest, oci.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v1.Descriptor{MediaType: known.MediaType, Digest: digest, Size: int64(len(data)), Data: data}, nil
}

// content has the parts of a manifest or index that a mirror reads.
type content struct {
	MediaType types.MediaType `json:"mediaType"`
	Config    *v1.Descriptor  `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
}

// parts are the blobs that the upstream must have, because it accepted the manifest. Layers with URLs and the manifests of an index
// may be absent.
func (c content) parts() (all []v1.Hash) {
	own := slices.Clone(c.Layers)
	if c.Config != nil {
		own = append(own, *c.Config)
	}
	for _, b := range own {
		if len(b.URLs) == 0 && len(all) < maxParts {
			all = append(all, b.Digest)
		}
	}
	return all
}

// keep stores a document of the upstream, and records its blobs as the repository's, for the time when the upstream cannot be asked.
// A document that cannot be stored is served all the same.
func (m *Mirror) keep(ctx context.Context, repo string, d *v1.Descriptor) error {
	var c content
	if err := json.Unmarshal(d.Data, &c); err != nil {
		return m.malformed(repo, d.Digest, err)
	}
	if !listing.IsDocument(d.MediaType) {
		d.MediaType = c.MediaType // file servers may say text/plain
	}
	if !listing.IsDocument(d.MediaType) {
		return publicf("%s: %s@%s is a %.100q, which is not mirrored: %w", m.upstream.Name(), repo, d.Digest, d.MediaType, errors.ErrUnsupported)
	}
	if err := m.store(ctx, repo, d, c.parts()); err != nil {
		m.log.WarnContext(ctx, "manifest is served but not kept", "repository", repo, "digest", d.Digest, "err", err)
	}
	return nil
}

func (m *Mirror) store(ctx context.Context, repo string, d *v1.Descriptor, parts []v1.Hash) error {
	if err := m.blobs.Put(ctx, d.Digest, d.Data); err != nil {
		return err
	}
	for _, digest := range parts {
		if err := m.records.put(ctx, blobKey(repo, digest), blobRecord{}); err != nil {
			return err
		}
	}
	return m.records.put(ctx, manifestKey(repo, d.Digest), manifestRecord{d.MediaType})
}

// malformed is the error for a document that has the right digest and wrong contents.
func (m *Mirror) malformed(repo string, digest v1.Hash, err error) error {
	return &upstream.Error{
		Registry: m.upstream.Name(), Status: 502, Subject: fmt.Sprintf("%s@%s", repo, digest),
		Err: fmt.Errorf("no manifest: %w", err),
	}
}
