package manifest

import (
	"bytes"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/document"
)

// Bounds of the two LRUs that a Source sends its answers from, in bytes.
const (
	answersWeight   = 16 << 20
	documentsWeight = 16 << 20
)

// answers is the LRU of the answers for tags. The key is a repository and a tag.
type answers = lru.Cache[[2]string, *answer]

// answer has the documents of a tag in one state of the catalogs and the stores. All its digests were verified in that state, and
// they are recorded. An answer is never changed.
type answer struct {
	state       string
	definitions string // the keys of the definitions
	moving      bool   // the definitions may change while the state stays the same: each request looks them up
	several     bool   // the tag has several definitions, one for each platform
	holdings    []*holding
	layout      []v1.Descriptor // for an OCI layout: its documents for clients, the index first
	documents   map[*document.Dialect]documents
}

// documents are the documents of a tag in one dialect. A document is nil if the dialect has no media types for it, or if the tag
// has no such document.
type documents struct{ index, manifest *v1.Descriptor }

// promises reports whether the answer names a digest, so that a client with the answer may request it.
func (a *answer) promises(digest v1.Hash) bool {
	for _, docs := range a.documents {
		for _, d := range []*v1.Descriptor{docs.index, docs.manifest} {
			if d != nil && (d.Digest == digest || bytes.Contains(d.Data, []byte(digest.Hex))) {
				return true
			}
		}
	}
	return slices.ContainsFunc(a.layout, func(d v1.Descriptor) bool { return d.Digest == digest })
}

// documents returns the documents that clients get by tag, for each dialect.
func (p *publication) documents() map[*document.Dialect]documents {
	all := make(map[*document.Dialect]documents)
	for _, d := range p.dialects {
		var docs documents
		if p.in(d) {
			docs.manifest = document.Preferred(p.images).Manifest(d)
		}
		if p.in(d) && len(p.images) > 1 {
			docs.index = document.Index(d, p.images)
		}
		all[d] = docs
	}
	return all
}

// servedDocument is a manifest or index of a repository. For the manifest of an image, it has the key of the image.
type servedDocument struct {
	*v1.Descriptor
	image string
}
