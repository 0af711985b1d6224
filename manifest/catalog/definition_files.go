package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// absentFor is how long the old content of a missing definition file is kept: if a broken file appears in its place within that
// time, the old images are still served. Editors rename the old file away before they write the new one.
const absentFor = time.Minute

// definitionFiles are the definition files among the image files. A file is read again when it was changed. If the new content
// is broken, the old images stay. Safe for concurrent use, except [definitionFiles.of] and [definitionFiles.retain], which only
// one goroutine may call at a time.
type definitionFiles struct {
	read   func(ctx context.Context, file string) ([]byte, error)
	places *imagePlaces
	log    *slog.Logger

	mu    sync.Mutex // not locked while a file is read
	files map[string]definitionFile
	loud  bool // log broken files; at the start they are errors instead
}

// definitionFile is one image file of any kind, and what is known of it.
type definitionFile struct {
	mark   string             // the result of fileState when the file was read
	images []*imagefile.Image // the images that the file defines
	names  tagsByName         // the same images; nil: the file is no definition file
	odd    bool               // the file is no image file of any kind
	fault  error              // why the file's present content is not used; images may be older
	absent time.Time          // when the file was found missing; zero: the file exists

	audited bool         // the file was audited since it was read
	state   string       // the state of the stores at that audit
	faults  []imageFault // the faults that the audit found
}

// tagsByName maps repositories and tags to images. Several images of one tag are for different platforms.
type tagsByName map[string]map[string][]*imagefile.Image

func newDefinitionFiles(read func(ctx context.Context, file string) ([]byte, error), places *imagePlaces, log *slog.Logger) *definitionFiles {
	return &definitionFiles{read: read, places: places, log: log, files: make(map[string]definitionFile)}
}

// of returns what is known of a file. It reads the file again if the file has changed since the last read.
func (d *definitionFiles) of(ctx context.Context, file string) definitionFile {
	d.mu.Lock()
	f, loud := d.files[file], d.loud
	d.mu.Unlock()
	mark := fileState(file)
	if mark == f.mark {
		return f
	}
	next := d.look(ctx, file, mark, f)
	if ctx.Err() != nil {
		return f // the next call reads the file again
	}
	if loud && next.fault != nil && (f.fault == nil || f.fault.Error() != next.fault.Error()) {
		d.complain(file, next.fault, f.names != nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[file] = next
	return next
}

// look reads a file. f is the result of the last read, and mark is the present file state.
func (d *definitionFiles) look(ctx context.Context, file, mark string, f definitionFile) definitionFile {
	images, kind, err := d.load(ctx, file, f.names != nil)
	if unread := (*unreadError)(nil); errors.As(err, &unread) {
		mark = "" // the target of a link may come back without a change of the link
		if f.names == nil && !namedAsDefinition(file) {
			return f // a client gets the error when it asks for the image
		}
	}
	if err != nil {
		f.mark, f.fault, f.odd = mark, err, false
		return f
	}
	return definitionFile{mark: mark, images: images, names: byTag(images), odd: kind == oddFile}
}

// complain logs each problem of a file as its own record.
func (d *definitionFiles) complain(file string, err error, before bool) {
	text := "definition file is broken"
	if outside := (*outsideError)(nil); errors.As(err, &outside) {
		text = "link is not followed"
	}
	if before {
		text += ": what it said before stays"
	}
	for line := range strings.Lines(err.Error()) {
		d.log.Error(text, "file", file, "problem", strings.TrimSuffix(line, "\n"))
	}
}

// fileKind is the kind of a file, as far as definitionFiles needs it.
type fileKind uint8

const (
	definesImages fileKind = iota
	otherImage             // an image of another kind, or a file that may be one
	oddFile
)

// load reads a definition file. before says that the file was a definition file at the last read. Then load treats it as one
// again, unless its content is clearly of another kind.
func (d *definitionFiles) load(ctx context.Context, file string, before bool) ([]*imagefile.Image, fileKind, error) {
	if linksElsewhere(file) {
		return nil, otherImage, nil
	}
	b, err := d.read(ctx, file)
	switch outside := (*outsideError)(nil); {
	case errors.As(err, &outside):
		return nil, definesImages, err
	case errors.Is(err, errors.ErrUnsupported): // too large for a definition file
		return nil, d.kindOfLarge(file), nil
	case err != nil:
		return nil, otherImage, &unreadError{file, err}
	case isDefinition(file, b) || before && !isOtherImage(b):
		images, err := imagefile.Parse(file, b)
		return images, definesImages, err
	case isOtherImage(b) || strings.HasPrefix(strings.TrimSpace(string(b)), "{") || d.places.leadsIntoStore(file):
		return nil, otherImage, nil
	}
	return nil, oddFile, nil
}

// isOtherImage reports whether the content is an image of another kind.
func isOtherImage(b []byte) bool {
	return isScript(b) || dockertools.LooksLikeConf(b) || finished.StartsArchive(b[:min(len(b), finished.TarBlock)])
}

// kindOfLarge returns the kind of a file that is too large to be read as a whole.
func (d *definitionFiles) kindOfLarge(file string) fileKind {
	if p, err := d.places.of(file); err == nil && !p.stored() && !p.mayBeReady() {
		return oddFile
	}
	return otherImage
}

// linksElsewhere reports whether file is a link to a store path that is no definition file, judged by the names that nixpkgs
// gives. The name is enough, so a path of a remote store need not be downloaded.
func linksElsewhere(file string) bool {
	target, err := os.Readlink(file)
	if err != nil {
		return false
	}
	p, rest, err := store.ParseAbs(target)
	if err != nil || rest != "" {
		return false
	}
	name := p.Name()
	return strings.HasSuffix(name, "-conf.json") || strings.HasPrefix(name, "stream-") || strings.Contains(name, ".tar")
}

type unreadError struct {
	file string
	err  error
}

func (e *unreadError) Error() string { return e.file + ": " + e.err.Error() }
func (e *unreadError) Unwrap() error { return e.err }

// isDefinition reports whether an image file is meant as a definition file. A file whose name has the suffix of another kind is
// never one, whatever its content is.
func isDefinition(file string, b []byte) bool {
	if isScript(b) || dockertools.LooksLikeConf(b) {
		return false
	}
	return namedAsDefinition(file) || slices.Contains([]string{"", ".json"}, filepath.Ext(file)) && imagefile.LooksLike(b)
}

func isScript(b []byte) bool { return strings.HasPrefix(string(b[:min(len(b), 2)]), "#!") }

// namedAsDefinition reports whether the name of a file alone says that it is a definition file. This matters for a file that is
// not valid YAML, because its content says nothing.
func namedAsDefinition(file string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(file))
}

// byTag groups images by repository and tag. If a repository has only one tag, its images also get the tag latest. An image
// without a tag has the tag latest. For nil images the result is nil.
func byTag(images []*imagefile.Image) tagsByName {
	if images == nil {
		return nil
	}
	names := make(tagsByName)
	for _, m := range images {
		tags := names[m.Repository()]
		if tags == nil {
			tags = make(map[string][]*imagefile.Image)
			names[m.Repository()] = tags
		}
		tag := cmp.Or(m.Tag, packages.Latest)
		tags[tag] = append(tags[tag], m)
	}
	for _, tags := range names {
		if len(tags) == 1 {
			for _, only := range tags {
				tags[packages.Latest] = only
			}
		}
	}
	return names
}

// loaded ends the start: from now on broken files are logged.
func (d *definitionFiles) loaded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loud = true
}

// retain forgets files that are not in there, the set of present files. It keeps the definitions of a missing file for
// absentFor.
func (d *definitionFiles) retain(there map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(d.files, func(file string, f definitionFile) bool {
		gone := !there[file]
		if gone && f.absent.IsZero() {
			f.absent, f.mark = now, ""
			d.files[file] = f
		} else if !gone && !f.absent.IsZero() {
			f.absent = time.Time{}
			d.files[file] = f
		}
		return gone && (f.names == nil || now.Sub(f.absent) >= absentFor || len(d.files) > 2*maxImageFiles)
	})
}

// each calls f for each file that exists, in the order of their names.
func (d *definitionFiles) each(f func(file string, known definitionFile)) {
	d.mu.Lock()
	files := maps.Clone(d.files)
	d.mu.Unlock()
	for _, file := range sortedKeys(files) {
		if known := files[file]; known.absent.IsZero() {
			f(file, known)
		}
	}
}

// fileState returns a text that changes when a file, a link, or the target of a link changes. The target may be in a remote
// store: then the text describes the link alone.
func fileState(file string) string {
	link, err := os.Lstat(file)
	if err != nil {
		return "absent"
	}
	state := describeFile(link)
	if link.Mode()&fs.ModeSymlink != 0 {
		target, _ := os.Readlink(file)
		state += " " + target
		if info, err := os.Stat(file); err == nil {
			state += " " + describeFile(info)
		}
	}
	return state
}

func describeFile(info fs.FileInfo) string {
	s, _ := filestamp.Of(info)
	return fmt.Sprintf("%v %d %d %d %d", info.Mode(), s.Size, s.Mtime, s.Inode, s.Ctime)
}

// imageFault is the reason why an image cannot be served.
type imageFault struct {
	image *imagefile.Image
	key   string // the key of the image that is at fault; "" for the whole image
	at    imagefile.Position
	err   error
}

// public returns the fault as all clients may see it: the position, the key, and the kind of fault.
func (f *imageFault) public() string {
	at := f.at
	at.File = filepath.Base(at.File)
	if f.key != "" {
		return at.String() + ": " + f.key + ": " + fault.Reason(f.err)
	}
	return at.String() + ": " + fault.Reason(f.err)
}

func (f *imageFault) same(g imageFault) bool {
	return f.public() == g.public() && f.err.Error() == g.err.Error()
}
