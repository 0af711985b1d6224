package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nixreg/store"
)

// Bounds of an --images directory.
const (
	maxImageFiles = 10_000
	maxImageDepth = 16
	maxImageLinks = 40
	maxConf       = 16 << 20 // bytes of a conf.json or script
)

// imageSuffixes are dropped from a file's name.
var imageSuffixes = []string{".json", ".tar", ".tar.gz", ".tar.zst"}

// images is the catalog of image files: each owns the repository of its name. Files are read when they are asked for,
// so that what is put into the directory is served at once.
type images struct {
	roots []imageRoot
	store store.Store
	log   *slog.Logger
}

// imageRoot is one --images argument. What it was at the start it stays: a directory that vanishes is no image.
type imageRoot struct {
	path      string
	directory bool
}

// newImages checks that the roots are there.
func newImages(roots []string, s store.Store, log *slog.Logger) (*images, error) {
	m := &images{store: s, log: log}
	for _, r := range roots {
		if _, err := os.Lstat(r); err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
		info, err := os.Stat(r) // a link may lead into a store whose files lie elsewhere
		m.roots = append(m.roots, imageRoot{r, err == nil && info.IsDir()})
	}
	m.warn()
	return m, nil
}

// warn says once, at the start, which files are hidden by others of the same repository.
func (m *images) warn() {
	hidden := func(repository, file, by string) {
		m.log.Warn("image file is hidden by another of the same name", "repository", repository, "file", file, "by", by)
	}
	m.list(context.Background(), hidden)
}

// files returns the image files by repository; of two with one name the first root's, then the first by name, counts.
// What cannot be read is left out: it must not hide the other images, nor the packages.
func (m *images) files(ctx context.Context) (map[string]string, error) {
	return m.list(ctx, func(_, _, _ string) {}), ctx.Err()
}

func (m *images) list(ctx context.Context, hidden func(repository, file, by string)) map[string]string {
	found := make(map[string]string)
	add := func(name, file string) {
		switch {
		case name == "" || strings.HasSuffix(name, "/"):
		case found[name] != "":
			hidden(name, file, found[name])
		default:
			found[name] = file
		}
	}
	for _, root := range m.roots {
		if root.directory {
			m.scan(ctx, root.path, "", 0, func(name, file string) bool {
				add(name, file)
				return len(found) < maxImageFiles
			})
		} else {
			add(imageRepository(filepath.Base(root.path)), root.path)
		}
	}
	return found
}

// scan calls add for each file below dir, with its repository, and reports whether add always returned true.
func (m *images) scan(ctx context.Context, dir, prefix string, depth int, add func(name, file string) bool) bool {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		m.log.Warn("images cannot be listed", "directory", dir, "error", err)
		return true
	}
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		switch {
		case ctx.Err() != nil || strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			name := repositoryName(e.Name())
			if name != "" && depth < maxImageDepth && !m.scan(ctx, full, prefix+name+"/", depth+1, add) {
				return false
			}
		case !add(prefix+imageRepository(e.Name()), full):
			m.log.Warn("images are left out", "after", full, "most", maxImageFiles)
			return false
		}
	}
	return true
}

// imageRepository is the repository of a file name, which may be that of a store path.
func imageRepository(base string) string {
	if p, err := store.ParsePath(base); err == nil {
		base = p.Name()
	}
	for _, suffix := range imageSuffixes {
		if cut, ok := strings.CutSuffix(base, suffix); ok {
			base = cut
			break
		}
	}
	return repositoryName(base)
}

func (m *images) State(ctx context.Context) (string, error) {
	files, err := m.files(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, name := range sortedKeys(files) {
		info, err := os.Stat(files[name])
		if err != nil { // a link into a store that lies elsewhere
			info, err = os.Lstat(files[name])
		}
		if err == nil {
			target, _ := os.Readlink(files[name])
			fmt.Fprintf(&b, "%s %s %d %d\n", name, target, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String(), nil
}

func (m *images) Owns(ctx context.Context, repository string) (bool, error) {
	files, err := m.files(ctx)
	return files[repository] != "", err
}

func (m *images) Lookup(ctx context.Context, repository, tag string) ([]*Definition, error) {
	d, err := m.definition(ctx, repository)
	if err != nil {
		return nil, err
	}
	if tag != latestTag && tag != d.Conf.Tag {
		return nil, unknownTag(repository, tag)
	}
	return []*Definition{d}, nil
}

func (m *images) Tags(ctx context.Context, repository string) ([]string, error) {
	d, err := m.definition(ctx, repository)
	if err != nil {
		return nil, err
	}
	tags := []string{latestTag}
	if own := d.Conf.Tag; own != latestTag && tagName(own) == own {
		tags = append(tags, own)
	}
	slices.Sort(tags)
	return tags, nil
}

func (m *images) Newest(ctx context.Context, repository string, _ int) ([]string, error) {
	return []string{latestTag}, nil
}

func (m *images) Repositories(ctx context.Context) ([]string, error) {
	files, err := m.files(ctx)
	return sortedKeys(files), err
}

// definition reads the file of a repository; its kind is found by content.
func (m *images) definition(ctx context.Context, repository string) (*Definition, error) {
	files, err := m.files(ctx)
	if err != nil {
		return nil, err
	}
	file := files[repository]
	if file == "" {
		return nil, unknownRepository(repository)
	}
	source, conf, err := m.read(ctx, file)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err // clients need not know where the directory is
	}
	if err != nil {
		return nil, fmt.Errorf("image %s (%s): %w", repository, filepath.Base(file), err)
	}
	return &Definition{Title: conf.Name, Version: conf.Tag, Conf: conf, Source: source}, nil
}

func (m *images) read(ctx context.Context, file string) ([]byte, *Conf, error) {
	b, err := m.content(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	if strings.HasPrefix(string(b), "#!") {
		p, err := confOfStream(b)
		if err != nil {
			return nil, nil, err
		}
		if b, err = store.ReadFile(ctx, m.store, p, "", maxConf); err != nil {
			return nil, nil, err
		}
	}
	if text := strings.TrimSpace(string(b)); strings.HasPrefix(text, "{") && !json.Valid(b) {
		_, err := ParseConf(b)
		return nil, nil, err
	}
	if !looksLikeConf(b) {
		return nil, nil, fmt.Errorf("neither a conf.json nor a stream-<name> script of nixpkgs' streamLayeredImage: %w", errors.ErrUnsupported)
	}
	conf, err := ParseConf(b)
	return b, conf, err
}

// content returns what file holds. A link into the store is followed by the store: its files may lie elsewhere, and
// only valid paths count.
func (m *images) content(ctx context.Context, file string) ([]byte, error) {
	for range maxImageLinks {
		if p, rest, err := store.ParseAbs(file); err == nil {
			return store.ReadFile(ctx, m.store, p, rest, maxConf)
		}
		info, err := os.Lstat(file)
		if err != nil {
			return nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return readRegular(file, info)
		}
		target, err := os.Readlink(file)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(target) {
			dir := filepath.Dir(file) // ".." leads out of where dir really is
			if real, err := filepath.EvalSymlinks(dir); err == nil {
				dir = real
			}
			target = filepath.Join(dir, target)
		}
		file = filepath.Clean(target)
	}
	return nil, fmt.Errorf("too many symbolic links: %w", fs.ErrInvalid)
}

func readRegular(file string, info fs.FileInfo) ([]byte, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	if info.Size() > maxConf {
		return nil, fmt.Errorf("%d bytes: neither a conf.json nor a stream-<name> script: %w", info.Size(), errors.ErrUnsupported)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConf))
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
