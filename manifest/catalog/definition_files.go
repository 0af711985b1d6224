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

// absentFor is for how long a definition file may be gone, and what it said before still stays when a broken one comes in
// its place: editors rename the old file away before they write the new one.
const absentFor = time.Minute

// definitionFiles are the definition files among the image files. One is read anew when it was changed; if it is broken
// then, what it said before stays. Safe for concurrent use, but for [definitionFiles.of] and [definitionFiles.retain],
// which are for one at a time.
type definitionFiles struct {
	read   func(ctx context.Context, file string) ([]byte, error)
	places *imagePlaces
	log    *slog.Logger

	mu    sync.Mutex // not held while a file is read
	files map[string]definitionFile
	loud  bool // log what is broken; at the start that is an error
}

// definitionFile is one image file, of whatever kind.
type definitionFile struct {
	mark   string             // the file's state when it was read
	images []*imagefile.Image // what it defines
	names  tagsByName         // the same; nil: it is no definition file
	odd    bool               // it is no image file at all
	fault  error              // why it defines something older than what it holds
	absent time.Time          // since when it is gone; zero: it is there

	audited bool         // since it was read
	state   string       // of the stores then
	faults  []imageFault // what the audit found
}

// tagsByName has the images of each repository and tag: several of one tag are for different platforms.
type tagsByName map[string]map[string][]*imagefile.Image

func newDefinitionFiles(read func(ctx context.Context, file string) ([]byte, error), places *imagePlaces, log *slog.Logger) *definitionFiles {
	return &definitionFiles{read: read, places: places, log: log, files: make(map[string]definitionFile)}
}

// of returns what is known of a file, which it reads if it is not as it was when it was read last.
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
		return f // who asks next looks again
	}
	if loud && next.fault != nil && (f.fault == nil || f.fault.Error() != next.fault.Error()) {
		d.complain(file, next.fault, f.names != nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[file] = next
	return next
}

// look reads a file that was f before, and is in the state mark.
func (d *definitionFiles) look(ctx context.Context, file, mark string, f definitionFile) definitionFile {
	images, kind, err := d.load(ctx, file, f.names != nil)
	if unread := (*unreadError)(nil); errors.As(err, &unread) {
		mark = "" // what it links to may come back without a change of the link
		if f.names == nil && !namedAsDefinition(file) {
			return f // who asks for the image is told
		}
	}
	if err != nil {
		f.mark, f.fault, f.odd = mark, err, false
		return f
	}
	return definitionFile{mark: mark, images: images, names: byTag(images), odd: kind == oddFile}
}

// complain logs each problem of a file by itself.
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

// fileKind is what a file is, as far as it matters here.
type fileKind uint8

const (
	definesImages fileKind = iota
	otherImage             // or it may be one
	oddFile
)

// load reads a definition file. One that was one before is taken for one, unless it is clearly something else now.
func (d *definitionFiles) load(ctx context.Context, file string, before bool) ([]*imagefile.Image, fileKind, error) {
	if linksElsewhere(file) {
		return nil, otherImage, nil
	}
	b, err := d.read(ctx, file)
	switch outside := (*outsideError)(nil); {
	case errors.As(err, &outside):
		return nil, definesImages, err
	case errors.Is(err, errors.ErrUnsupported): // too large for one
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

// isOtherImage reports whether a file is meant as an image of another kind.
func isOtherImage(b []byte) bool {
	return isScript(b) || dockertools.LooksLikeConf(b) || finished.StartsArchive(b[:min(len(b), finished.TarBlock)])
}

// kindOfLarge is for files that are not read as a whole.
func (d *definitionFiles) kindOfLarge(file string) fileKind {
	if p, err := d.places.of(file); err == nil && !p.stored() && !p.mayBeReady() {
		return oddFile
	}
	return otherImage
}

// linksElsewhere reports whether file is a link to a store path that its name tells to be something else, as nixpkgs names
// them. A store may be far away: then that need not be read.
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

// isDefinition reports whether an image file is meant as a definition file. By its content alone none is that is named as
// something else.
func isDefinition(file string, b []byte) bool {
	if isScript(b) || dockertools.LooksLikeConf(b) {
		return false
	}
	return namedAsDefinition(file) || slices.Contains([]string{"", ".json"}, filepath.Ext(file)) && imagefile.LooksLike(b)
}

func isScript(b []byte) bool { return strings.HasPrefix(string(b[:min(len(b), 2)]), "#!") }

// namedAsDefinition is for files whose content tells nothing, as it is not even YAML.
func namedAsDefinition(file string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(file))
}

// byTag sorts images. Of a name with a single tag, or none, that is latest as well. Without images it is nil.
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

// loaded ends the start.
func (d *definitionFiles) loaded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loud = true
}

// retain tells which files there are. Of the others it keeps for a while what they said.
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

// each calls f with what is known of the files that are there, in the order of their names.
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

// fileState changes when a file does, or where a link leads to. A link may lead into a store that lies elsewhere.
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

// imageFault is why an image cannot be served.
type imageFault struct {
	image *imagefile.Image
	key   string // of the image, that is at fault; "" for the whole
	at    imagefile.Position
	err   error
}

// public is the fault as everybody may see it: where, which key, and which kind of fault.
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
