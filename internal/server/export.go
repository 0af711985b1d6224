package server

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/export"
)

// Inspect makes an image and returns a report for each platform. The error of an image that does not exist matches
// fs.ErrNotExist.
func (s *Server) Inspect(ctx context.Context, image Image) ([]*manifest.Report, error) {
	return readings(s, image, func(repository string) ([]*manifest.Report, error) {
		return s.source.Inspect(ctx, repository, image.Tag)
	})
}

// Export is an image, and the place to write it to.
type Export struct {
	Image      Image
	To         export.Destination
	Platform   export.Platform // of an image for several; the zero value is the default one
	All        bool            // all platforms
	MountFrom  []string        // repositories of the target registry that may have layers
	SkipVerify bool            // of the target's certificate
	Progress   export.Progress
}

// Export makes an image and writes it; w gets an archive. It warns of images of an index that do not exist.
func (s *Server) Export(ctx context.Context, w io.Writer, e Export) error {
	from, top, err := e.Image.find(ctx, s.source)
	if err != nil {
		return s.explain(e.Image.Repositories[0], err)
	}
	var img *export.Image
	if e.All {
		img, err = export.OpenAll(ctx, from, top)
	} else {
		img, err = export.Open(ctx, from, top, e.Platform)
	}
	if err != nil {
		return err
	}
	for _, d := range img.Missing() {
		s.config.Log.Warn("an image of the index is not there, and left out", "digest", d)
	}
	switch e.To.Transport {
	case export.OCI:
		return img.WriteLayout(ctx, e.To.Path, e.To.Name, e.Progress)
	case export.Docker:
		return img.Push(ctx, export.Target{
			Name: e.To.Path, MountFrom: e.MountFrom, Keychain: authn.DefaultKeychain, SkipVerify: e.SkipVerify, UserAgent: "nixreg",
		}, e.Progress)
	}
	notes, err := from.notes(ctx, img.Config(), e.To.Name)
	if err != nil {
		return err
	}
	return img.WriteArchive(ctx, w, notes, e.Progress)
}

// find returns the descriptor of the image, and the repository that has its parts.
func (r Image) find(ctx context.Context, s *manifest.Source) (*exportedFrom, *v1.Descriptor, error) {
	var first error
	for _, repository := range r.Repositories {
		request := manifest.Request{Repository: repository, Tag: r.Tag, Digest: r.Digest, Accept: anyType}
		top, err := s.Manifest(ctx, request)
		if err == nil {
			return &exportedFrom{s, repository, r.Tag}, top, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, nil, first
}

// anyType accepts the best type there is.
func anyType(offers ...types.MediaType) (types.MediaType, bool) { return offers[0], true }

// exportedFrom is a repository as package export wants it.
type exportedFrom struct {
	source     *manifest.Source
	repository string
	tag        string // "" for a digest
}

func (f *exportedFrom) Manifest(ctx context.Context, d v1.Hash) (*v1.Descriptor, error) {
	return f.source.Manifest(ctx, manifest.Request{Repository: f.repository, Digest: d})
}

func (f *exportedFrom) Blob(ctx context.Context, d v1.Hash) (export.Blob, error) {
	return f.source.Blob(ctx, f.repository, d)
}

// notes are those of an archive. Without a given name the image has its own.
func (f *exportedFrom) notes(ctx context.Context, config v1.Hash, name string) (export.Notes, error) {
	n, err := f.source.ArchiveNotes(ctx, f.repository, f.tag, config)
	if err != nil {
		return export.Notes{}, err
	}
	notes := export.Notes{MTime: n.MTime, Layers: n.Layers}
	switch {
	case name != "":
		notes.RepoTags = []string{name}
	case n.RepoTag != "":
		notes.RepoTags = []string{n.RepoTag}
	case f.tag != "":
		notes.RepoTags = []string{f.repository + ":" + f.tag}
	}
	return notes, nil
}
