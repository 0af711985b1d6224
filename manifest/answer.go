package manifest

import (
	"bytes"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/document"
)

// Bounds of what is kept ready to be sent, in bytes.
const (
	answersWeight   = 16 << 20
	documentsWeight = 16 << 20
)

// answers are what tags mean, ready to be sent: by repository and tag.
type answers = lru.Cache[[2]string, *answer]

// answer is what a tag means in one state of the catalogs and the stores. All its digests were verified for that state,
// and are recorded. It is never changed.
type answer struct {
	state       string
	definitions string // their keys
	moving      bool   // the definitions may be others while the state stays: they are looked up for each request
	several     bool   // there is one for each of several platforms
	holdings    []*holding
	layout      []v1.Descriptor // of an OCI layout: what it has for clients, the index first
	documents   map[*document.Dialect]documents
}

// documents are those of one dialect. nil is one that the dialect has no types for, or that there is none of.
type documents struct{ index, manifest *v1.Descriptor }

// promises reports whether a client that got the answer may ask for a digest.
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

// documents are those that clients get by tag.
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

// servedDocument is a manifest or index that a repository has, and the key of the image it is a manifest of.
type servedDocument struct {
	*v1.Descriptor
	image string
}
