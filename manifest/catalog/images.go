package catalog

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
)

// images is the catalog of image files: each owns the repository of its name. Files are read when they are asked for;
// what is put into a directory is served at once, and what is changed a second after the last look, at the latest.
type images struct {
	*fileReader
	roots       []imageRoot
	definitions *definitionFiles
	resolver    *resolver

	last     atomic.Pointer[imageList]
	turn     chan struct{} // held by the one who looks
	auditing sync.Mutex

	mu     sync.Mutex
	warned map[string]bool
}

// imageEntry is what a repository is.
type imageEntry struct {
	file string
	// tags are the images of a definition file by tag, and mark is the file's state when it was read. Without them the file
	// is an image itself.
	tags map[string][]*imagefile.Image
	mark string
}

// imageRoot is one --images argument. What it was at the start it stays: a directory that vanishes is no image.
type imageRoot struct {
	path      string
	directory bool
}

// newImages checks that the roots are there.
func newImages(roots []string, reader *fileReader, r *resolver) (*images, error) {
	m := &images{fileReader: reader, resolver: r, turn: make(chan struct{}, 1), warned: make(map[string]bool)}
	m.definitions = newDefinitionFiles(m.content, m.places, m.log)
	for _, r := range roots {
		if _, err := os.Lstat(r); err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
		info, err := os.Stat(r) // a link may lead into a store whose files lie elsewhere
		m.roots = append(m.roots, imageRoot{r, err == nil && info.IsDir() && !finished.IsLayoutDirectory(r)})
	}
	return m, nil
}

func (m *images) Owns(ctx context.Context, repository string) (bool, error) {
	files, err := m.files(ctx)
	return files[repository].file != "", err
}

func (m *images) Lookup(ctx context.Context, repository, tag string) ([]*draft.Definition, error) {
	e, err := m.entry(ctx, repository)
	switch {
	case err != nil:
		return nil, err
	case e.tags == nil:
	case e.tags[tag] == nil:
		return nil, packages.UnknownTag(repository, tag)
	default:
		defs, err := m.resolver.definitions(ctx, e.tags[tag])
		if m.resolver.builds.builder != nil { // contents may have to be built
			return moving(defs, err)
		}
		return defs, err
	}
	return m.lookupFile(ctx, repository, e.file, tag)
}

func (m *images) Tags(ctx context.Context, repository string) ([]string, error) {
	e, err := m.entry(ctx, repository)
	switch {
	case err != nil:
		return nil, err
	case e.tags != nil:
		return sortedKeys(e.tags), nil
	}
	return m.fileTags(ctx, repository, e.file)
}

func (m *images) Newest(ctx context.Context, repository string, n int) ([]string, error) {
	e, err := m.entry(ctx, repository)
	switch {
	case err != nil:
		return nil, err
	case e.tags == nil:
		if f, err := m.ready(ctx, repository, e.file); err != nil || f != nil {
			return f.newest(n), err
		}
		return []string{packages.Latest}, nil
	}
	tags := sortedKeys(e.tags)
	slices.SortStableFunc(tags, newerTag)
	return tags[:min(len(tags), n)], nil
}

// newerTag puts latest first, and then the highest version: when an image was made, no definition tells.
func newerTag(a, b string) int {
	switch packages.Latest {
	case a:
		return -1
	case b:
		return 1
	}
	return packages.CompareVersions(b, a)
}

func (m *images) Repositories(ctx context.Context) ([]string, error) {
	files, err := m.files(ctx)
	return sortedKeys(files), err
}

func (m *images) entry(ctx context.Context, repository string) (imageEntry, error) {
	files, err := m.files(ctx)
	if err == nil && files[repository].file == "" {
		err = packages.UnknownRepository(repository)
	}
	return files[repository], err
}

// register makes known the files outside of the store that hold finished images; audit does so with base images. What is
// remembered of them names them as paths of a store that each process has to fill anew.
func (m *images) register(ctx context.Context) error {
	files, err := m.files(ctx)
	for _, e := range files {
		if e.tags == nil && !m.places.leadsIntoStore(e.file) {
			m.recognise(ctx, e.file)
		}
	}
	return err
}
