package manifest

import (
	"context"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/store"
)

// Attach adds an attacher, whose documents have a text.
func (s *Source) Attach(name string, mediaType types.MediaType, make func(title string) ([]byte, error)) {
	s.attachers = append(s.attachers[:len(s.attachers):len(s.attachers)], &attacher{
		name: name, title: name + ".txt", mediaType: mediaType, record: "/" + name,
		make: func(_ context.Context, _ store.Store, m *document.Image) ([]byte, error) { return make(m.Title) },
	})
}

// Hashed is how many bytes were hashed so far.
func (s *Source) Hashed() int64 { return s.hashed.Load() }

// AnswersWeight is what the answers that are kept take, in bytes.
func (s *Source) AnswersWeight() int64 { return s.answers.Weight() }
