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

// images is the provider of image files. Each file owns the repository of its name. A file is read when a client asks for it. A
// file that is added to a directory is served at once; a change of a file is seen at most a second after the last listing.
type images struct {
	*fileReader
	roots       []imageRoot
	definitions *definitionFiles
	resolver    *resolver

	last     atomic.Pointer[imageList]
	listing  chan struct{} // a lock: its one element is taken while a listing is made
	auditing sync.Mutex

	mu     sync.Mutex
	warned map[string]bool
}

// imageEntry is the file of a repository.
type imageEntry struct {
	file string
	// tags are the images of a definition file by tag, and mark is the result of fileState when the file was read. If tags is
	// nil, the file is an image itself.
	tags map[string][]*imagefile.Image
	mark string
}

// imageRoot is one --images argument. Its kind is set at the start: a directory that is removed later does not become an image.
type imageRoot struct {
	path      string
	directory bool
}

// newImages checks that the roots exist.
func newImages(roots []string, reader *fileReader, r *resolver) (*images, error) {
	m := &images{fileReader: reader, resolver: r, listing: make(chan struct{}, 1), warned: make(map[string]bool)}
	m.definitions = newDefinitionFiles(m.content, m.places, m.log)
	for _, r := range roots {
		if _, err := os.Lstat(r); err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
		info, err := os.Stat(r) // this may fail for a link to a path of a remote store
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

// newerTag sorts latest first, and then the highest version, because a definition does not say when its image was made.
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

// register adds the finished images outside of the store to the store of host files; audit does the same for base images. Cached
// data names these images by store paths, and each process must add the paths again.
func (m *images) register(ctx context.Context) error {
	files, err := m.files(ctx)
	for _, e := range files {
		if e.tags == nil && !m.places.leadsIntoStore(e.file) {
			m.recognise(ctx, e.file)
		}
	}
	return err
}
