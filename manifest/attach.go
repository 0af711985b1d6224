package manifest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// attacher makes one document about an image. The document refers to each manifest of the image.
type attacher struct {
	name      string // for messages
	title     string // the file name under which clients store the document
	mediaType types.MediaType
	// record is the suffix of the key of a referrer's record. It is empty for the first attacher, whose records are older than
	// this list.
	record string
	// make returns the document. If there is nothing to write in it, the error matches [fs.ErrNotExist].
	make func(ctx context.Context, s store.Store, m *document.Image) ([]byte, error)
}

// attachers make the referrers of images. Lists for clients have the referrers in this order.
var attachers = []*attacher{
	{name: "bill of materials", title: "sbom.spdx.json", mediaType: spdxJSON, make: billOf},
}

// billOf returns the bill of materials of an image.
func billOf(ctx context.Context, s store.Store, m *document.Image) ([]byte, error) {
	if m.Ready {
		return nil, fault.Absent(fmt.Sprintf("nothing is known of what is in image %s", m.Config))
	}
	objects, err := contained(ctx, s, m)
	if err != nil {
		return nil, err
	}
	return sbomBytes(m, objects), nil
}

// contained returns the store paths in an image, sorted. A path that has other contents now than in the image gives an error
// matching io/fs.ErrNotExist.
func contained(ctx context.Context, s store.Store, m *document.Image) ([]*store.Object, error) {
	var out []*store.Object
	seen := make(map[store.Path]bool)
	for _, l := range m.Layers {
		if l.Recipe.Format != layer.StorePaths {
			continue
		}
		for _, ref := range l.Recipe.Objects {
			o, err := s.Object(ctx, ref.Path)
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

// key returns the key of the record of a manifest's referrer.
func (a *attacher) key(repository string, subject v1.Hash) string {
	return "referrer/" + repository + "/" + subject.String() + a.record
}

// attach makes the document about an image, and records it as a referrer of one of the image's manifests.
func (p *publisher) attach(ctx context.Context, a *attacher, repository, imageKey string, subject v1.Descriptor) (*v1.Descriptor, error) {
	m, err := p.records.image(ctx, imageKey)
	if err != nil {
		return nil, err
	}
	b, err := a.make(ctx, p.env.Store, m)
	if err != nil {
		return nil, err
	}
	content := v1.Descriptor{MediaType: a.mediaType, Digest: document.Digest(b), Size: int64(len(b))}
	artifact := document.Describe(types.OCIManifestSchema1, artifactBytes(subject, content, a.title))
	artifact.ArtifactType = string(a.mediaType)
	var links []link
	for _, blob := range [][]byte{b, []byte(emptyConfig)} {
		digest := document.Digest(blob)
		if err := p.records.putInline(ctx, digest, blob); err != nil {
			return nil, err
		}
		links = append(links, blobLink(digest, nil))
	}
	links = append(links, link{digest: artifact.Digest, document: artifact})
	if err := p.records.publish(ctx, repository, links, true); err != nil {
		return nil, err
	}
	told := *artifact
	told.Data = nil
	return &told, p.records.put(ctx, a.key(repository, subject.Digest), &told)
}

// attached returns the recorded referrer of a manifest, if all its documents and blobs are recorded too.
func (p *publisher) attached(ctx context.Context, a *attacher, repository string, subject v1.Hash) (*v1.Descriptor, error) {
	d := new(v1.Descriptor)
	if err := p.records.get(ctx, a.key(repository, subject), d); err != nil {
		return nil, err
	}
	rec, err := p.records.document(ctx, repository, d.Digest)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(rec.Data))
	if err != nil {
		return nil, err
	}
	for _, blob := range append(m.Layers, m.Config) {
		b, err := p.records.blob(ctx, repository, blob.Digest)
		if err != nil {
			return nil, err
		}
		if b.Recipe != nil { // an OCI layout of that name has recorded the blob as a layer
			return nil, fmt.Errorf("blob %s: %w", blob.Digest, fs.ErrNotExist)
		}
	}
	return d, nil
}
