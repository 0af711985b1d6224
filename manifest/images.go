package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Bounds of an --images directory.
const (
	maxImageFiles = 10_000
	maxImageDepth = 16
	maxImageDirs  = 2_000 // folders; one that links lead to twice counts twice
	maxImageLinks = 40
	maxConf       = 16 << 20 // bytes of a conf.json or script
)

// imageSuffixes are dropped from a file's name.
var imageSuffixes = []string{".json", ".yaml", ".yml", ".tar", ".tar.gz", ".tar.zst"}

// images is the catalog of image files: each owns the repository of its name. Files are read when they are asked for;
// what is put into a directory is served at once, and what is changed a second after the last look, at the latest.
type images struct {
	roots       []imageRoot
	places      *imagePlaces
	store       store.Store
	log         *slog.Logger
	definitions *definitionFiles
	resolver    *resolver
	layers      *layer.Maker // opens archives

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
func newImages(roots, storeDirs []string, r *resolver, layers *layer.Maker, log *slog.Logger) (*images, error) {
	m := &images{store: r.store, resolver: r, layers: layers, log: log, turn: make(chan struct{}, 1), warned: make(map[string]bool)}
	m.places = &imagePlaces{roots: roots, stores: storeDirs}
	m.definitions = newDefinitionFiles(m.content, m.places, log)
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

func (m *images) Lookup(ctx context.Context, repository, tag string) ([]*Definition, error) {
	e, err := m.entry(ctx, repository)
	switch {
	case err != nil:
		return nil, err
	case e.tags == nil:
	case e.tags[tag] == nil:
		return nil, packages.UnknownTag(repository, tag)
	default:
		defs, err := m.resolver.definitions(ctx, e.tags[tag])
		if m.resolver.names.builder != nil { // contents may have to be built
			return moving(defs, err)
		}
		return defs, err
	}
	return m.lookupFile(ctx, repository, e.file, tag)
}

// lookupFile defines the image of a tag of a file that is an image itself, or has finished ones.
func (m *images) lookupFile(ctx context.Context, repository, file, tag string) ([]*Definition, error) {
	if f, err := m.ready(ctx, repository, file); err != nil {
		return nil, err
	} else if f != nil {
		return f.lookup(tag)
	}
	d, err := m.definition(ctx, repository, file)
	if err != nil {
		return nil, err
	}
	if tag != packages.Latest && tag != d.Conf.Tag {
		return nil, packages.UnknownTag(repository, tag)
	}
	return []*Definition{d}, nil
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

// fileTags are the tags of such a file, sorted by bytes.
func (m *images) fileTags(ctx context.Context, repository, file string) ([]string, error) {
	if f, err := m.ready(ctx, repository, file); err != nil {
		return nil, err
	} else if f != nil {
		return f.tags(), nil
	}
	d, err := m.definition(ctx, repository, file)
	if err != nil {
		return nil, err
	}
	tags := []string{packages.Latest}
	if own := d.Conf.Tag; own != packages.Latest && packages.TagName(own) == own {
		tags = append(tags, own)
	}
	slices.Sort(tags)
	return tags, nil
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

// definition reads the file of a repository; its kind is found by content.
func (m *images) definition(ctx context.Context, repository, file string) (*Definition, error) {
	source, conf, err := m.read(ctx, file)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err // who asked need not know where the directory is
	}
	if err != nil {
		return nil, fault.OfFile(repository, file, err)
	}
	return &Definition{Title: conf.Name, Version: conf.Tag, Conf: conf, Source: source, origin: m.places.path(file)}, nil
}

func (m *images) read(ctx context.Context, file string) ([]byte, *dockertools.Conf, error) {
	b, err := m.content(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	if isDefinition(file, b) { // a broken one: it would have other names
		_, err := imagefile.Parse(filepath.Base(file), b)
		if err == nil {
			err = fault.Absent("the file was changed a moment ago")
		}
		return nil, nil, err
	}
	if isScript(b) {
		p, err := dockertools.ConfFile(b)
		if err != nil {
			return nil, nil, err
		}
		if b, err = store.ReadFile(ctx, m.store, p, "", maxConf); err != nil {
			return nil, nil, err
		}
	}
	if text := strings.TrimSpace(string(b)); strings.HasPrefix(text, "{") && !json.Valid(b) {
		_, err := dockertools.ParseConf(b)
		return nil, nil, err
	}
	if !dockertools.LooksLikeConf(b) {
		return nil, nil, fmt.Errorf("neither a definition (called .yaml, .yml, .json, or without a dot), a conf.json or stream-<name> script of nixpkgs' streamLayeredImage, nor a docker-archive or OCI layout: %w", errors.ErrUnsupported)
	}
	conf, err := dockertools.ParseConf(b)
	return b, conf, err
}

// content returns what file holds. A link into the store is followed by the store: its files may lie elsewhere, and
// only valid paths count. Of what lies elsewhere it returns definitions alone; the rest is an [outsideError].
func (m *images) content(ctx context.Context, file string) ([]byte, error) {
	at, err := m.places.of(file)
	if err != nil {
		return nil, err
	}
	if p, rest, err := store.ParseAbs(at.name); err == nil {
		return store.ReadFile(ctx, m.store, p, rest, maxConf)
	}
	return at.read()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
