package manifest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// isLayout reports whether a tag serves an OCI layout. The documents of a layout exist already and are served unchanged.
func isLayout(defs []*draft.Definition) bool {
	_, ok := defs[0].Kind.(*draft.Layout)
	return ok
}

// manifestByTag returns the manifest or index of a tag. A second request in the same state reads no records.
func (s *Source) manifestByTag(ctx context.Context, r Request) (*v1.Descriptor, error) {
	a, defs, err := s.answer(ctx, r.Repository, r.Tag)
	if err != nil {
		return nil, err
	}
	for _, h := range a.holdings {
		if err := s.keepHeld(ctx, h); err != nil {
			return nil, err
		}
	}
	if a.layout != nil || defs != nil && isLayout(defs) {
		return s.layoutManifest(ctx, r, a, defs)
	}
	for _, among := range [][]*document.Dialect{{document.OCI, document.Docker}, {document.OCI}} { // some layers have no Docker type
		d, isIndex := document.Choose(r.Accept, a.several, among)
		if d == nil {
			break
		}
		if a, defs, err = s.answerIn(ctx, r, a, defs, d); err != nil {
			return nil, err
		}
		found := a.documents[d].manifest
		if isIndex {
			found = a.documents[d].index
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, &unacceptableError{r.Repository, r.Tag}
}

// answer returns the answer for a tag in the present state. The answer has no documents if this is the first request for the tag in
// this state. The definitions are nil if answer did not have to look them up.
func (s *Source) answer(ctx context.Context, repository, tag string) (*answer, []*draft.Definition, error) {
	state, err := s.catalog.State(ctx)
	if err != nil {
		return nil, nil, err
	}
	known, ok := s.answers.Get([2]string{repository, tag})
	ok = ok && known.state == state && !strings.Contains(state, store.Unavailable) // two different outages can give the same state
	if ok && !known.moving {
		return known, nil, nil
	}
	defs, err := s.catalog.Lookup(ctx, repository, tag)
	if err != nil {
		return nil, nil, err
	}
	a := &answer{state: state, several: len(defs) > 1, moving: !s.catalog.Settled(ctx)}
	for _, d := range defs {
		a.definitions += d.Key()
		a.moving = a.moving || d.Moving
	}
	if !ok || known.definitions != a.definitions {
		return a, defs, nil
	}
	if known.moving != a.moving {
		next := *known
		next.moving, known = a.moving, &next
		s.keepAnswer(ctx, Request{Repository: repository, Tag: tag}, known, defs)
	}
	return known, defs, nil
}

// answerIn returns an answer that has the documents of a dialect. It makes the documents if a lacks them.
func (s *Source) answerIn(ctx context.Context, r Request, a *answer, defs []*draft.Definition, d *document.Dialect) (*answer, []*draft.Definition, error) {
	if _, ok := a.documents[d]; ok {
		return a, defs, nil
	}
	if defs == nil {
		var err error
		if defs, err = s.catalog.Lookup(ctx, r.Repository, r.Tag); err != nil {
			return nil, nil, err
		}
	}
	p, err := s.publish(ctx, r.Repository, defs, s.dialectsLike(d), false)
	if err != nil {
		return nil, nil, err
	}
	next := *a
	next.documents = p.documents()
	for other, docs := range a.documents {
		next.documents[other] = docs
	}
	s.keepAnswer(ctx, r, &next, defs)
	return &next, defs, nil
}

// layoutManifest returns the root document of an OCI layout for its tag. A client that accepts no index gets a manifest of the
// layout.
func (s *Source) layoutManifest(ctx context.Context, r Request, a *answer, defs []*draft.Definition) (*v1.Descriptor, error) {
	if a.layout == nil {
		p, err := s.publish(ctx, r.Repository, defs, s.dialectsLike(document.OCI), false)
		if err != nil {
			return nil, err
		}
		next := *a
		for _, doc := range []*finished.Document{p.layout.Root(), p.layout.Manifest(program.DefaultArchitecture)} {
			if doc != nil {
				next.layout = append(next.layout, v1.Descriptor{MediaType: doc.MediaType, Digest: doc.Digest})
			}
		}
		a = &next
		s.keepAnswer(ctx, r, a, defs)
	}
	for _, doc := range a.layout {
		if _, ok := r.Accept(doc.MediaType); ok {
			return s.manifestByDigest(ctx, r.Repository, doc.Digest)
		}
	}
	return nil, &unacceptableTypeError{r.Repository, r.Tag, a.layout[0].MediaType}
}

func (s *Source) keepAnswer(ctx context.Context, r Request, a *answer, defs []*draft.Definition) {
	if s.holder != nil && a.holdings == nil {
		for _, d := range defs {
			a.holdings = append(a.holdings, newHolding(d.Key(), s.roots(ctx, d), true))
		}
	}
	weight := int64(len(r.Repository) + len(r.Tag) + len(a.state) + len(a.definitions))
	for _, docs := range a.documents {
		for _, d := range []*v1.Descriptor{docs.index, docs.manifest} {
			if d != nil {
				weight += int64(len(d.Data))
			}
		}
	}
	for _, h := range a.holdings {
		weight += h.weight()
	}
	s.answers.Put([2]string{r.Repository, r.Tag}, a, weight)
}

type unacceptableError struct{ repository, tag string }

func (e *unacceptableError) Error() string {
	return fmt.Sprintf("%s:%s is served as an OCI or Docker (schema 2) manifest, and the client accepts neither", e.repository, e.tag)
}
func (e *unacceptableError) Public() string       { return e.Error() }
func (e *unacceptableError) Is(target error) bool { return target == errors.ErrUnsupported }

// unacceptableTypeError is about a layout: its documents exist already, so they cannot be made in another media type.
type unacceptableTypeError struct {
	repository, tag string
	mediaType       types.MediaType
}

func (e *unacceptableTypeError) Error() string {
	return fmt.Sprintf("%s:%s is of type %s, and the client does not accept it", e.repository, e.tag, e.mediaType)
}
func (e *unacceptableTypeError) Public() string {
	return fmt.Sprintf("%s:%s is of a type that the client does not accept", e.repository, e.tag)
}
func (e *unacceptableTypeError) Is(target error) bool { return target == errors.ErrUnsupported }
