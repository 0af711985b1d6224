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

// attacher makes one document about an image, which refers to each manifest of the image.
type attacher struct {
	name      string // for messages
	title     string // the name of the file that clients store it in
	mediaType types.MediaType
	// record comes after the key of a referrer's record. The first attacher has none: its records are older than the list.
	record string
	// make writes the document. There being nothing to tell is an error matching [fs.ErrNotExist].
	make func(ctx context.Context, s store.Store, m *document.Image) ([]byte, error)
}

// attachers are all that refers to images, in the order in which clients are told.
var attachers = []*attacher{
	{name: "bill of materials", title: "sbom.spdx.json", mediaType: spdxJSON, make: billOf},
}

// billOf writes the bill of materials of an image.
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

// contained returns the store paths in an image, sorted. One that is not what the image was made from gives an error
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

// key is that of the record of what refers to a manifest.
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

// attached returns what is recorded to refer to a manifest, if all of it is there.
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
		if b.Recipe != nil { // a layout of that name made it of something
			return nil, fmt.Errorf("blob %s: %w", blob.Digest, fs.ErrNotExist)
		}
	}
	return d, nil
}
