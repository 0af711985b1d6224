package manifest

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

	"nixreg/manifest/imagefile"
	"nixreg/store"
)

// lookAgain is for how long a definition file is not looked at again.
const lookAgain = time.Second

// longestAudit bounds how long a look at what definitions name may keep others waiting.
const longestAudit = 5 * time.Second

// definitionFiles are the definition files among the image files. One is read anew when it was changed; if it is broken
// then, what it said before stays. Safe for concurrent use.
type definitionFiles struct {
	read func(ctx context.Context, file string) ([]byte, error)
	log  *slog.Logger

	mu      sync.Mutex // held while a file is read: those who ask meanwhile want to know what it says
	files   map[string]*definitionFile
	changed []*imagefile.Image // of files that were read and not audited since
	loud    bool               // log what is broken; at the start that is an error
}

// definitionFile is one image file, of whatever kind.
type definitionFile struct {
	looked time.Time
	mark   string     // the file's state when it was read
	names  tagsByName // what it defines; nil: it is no definition file
	fault  error      // why it defines something older than what it holds
}

// tagsByName has the images of each repository and tag: several of one tag are for different platforms.
type tagsByName map[string]map[string][]*imagefile.Image

func newDefinitionFiles(read func(ctx context.Context, file string) ([]byte, error), log *slog.Logger) *definitionFiles {
	return &definitionFiles{read: read, log: log, files: make(map[string]*definitionFile)}
}

// of returns what a file defines and the state it had then; nil if it is no definition file.
func (d *definitionFiles) of(ctx context.Context, file string) (names tagsByName, mark string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[file]
	if f == nil {
		f = new(definitionFile)
		d.files[file] = f
	}
	if time.Since(f.looked) >= lookAgain {
		d.look(ctx, file, f)
	}
	return f.names, f.mark
}

// look reads a file if it is not as it was when it was read last.
func (d *definitionFiles) look(ctx context.Context, file string, f *definitionFile) {
	mark := fileState(file)
	if mark == f.mark {
		f.looked = time.Now()
		return
	}
	images, err := d.load(ctx, file, f.names != nil)
	if ctx.Err() != nil {
		return // who asks next looks again
	}
	f.looked = time.Now()
	if unread := (*unreadError)(nil); errors.As(err, &unread) {
		mark = "" // what it links to may come back without a change of the link
		if f.names == nil && !namedAsDefinition(file) {
			return // who asks for the image is told
		}
	}
	f.mark = mark
	if err == nil {
		f.names, f.fault = byTag(images), nil
		d.changed = append(d.changed, images...)
		return
	}
	if d.loud && (f.fault == nil || f.fault.Error() != err.Error()) {
		d.complain(file, err, f.names != nil)
	}
	f.fault = err
}

// complain logs each problem of a file by itself.
func (d *definitionFiles) complain(file string, err error, before bool) {
	text := "definition file is broken"
	if before {
		text += ": what it said before stays"
	}
	for line := range strings.Lines(err.Error()) {
		d.log.Error(text, "file", file, "problem", strings.TrimSuffix(line, "\n"))
	}
}

// load reads a definition file; nil without an error if it is none. One that was one before is taken for one, unless it
// is clearly something else now.
func (d *definitionFiles) load(ctx context.Context, file string, before bool) ([]*imagefile.Image, error) {
	if linksElsewhere(file) {
		return nil, nil
	}
	b, err := d.read(ctx, file)
	switch {
	case errors.Is(err, errors.ErrUnsupported): // too large for one
		return nil, nil
	case err != nil:
		return nil, &unreadError{file, err}
	case !isDefinition(file, b) && (!before || isScript(b) || looksLikeConf(b)):
		return nil, nil
	}
	return imagefile.Parse(file, b)
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

// isDefinition reports whether an image file is meant as a definition file.
func isDefinition(file string, b []byte) bool {
	return !isScript(b) && !looksLikeConf(b) && (imagefile.LooksLike(b) || namedAsDefinition(file))
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
		tag := cmp.Or(m.Tag, latestTag)
		tags[tag] = append(tags[tag], m)
	}
	for _, tags := range names {
		if len(tags) == 1 {
			for _, only := range tags {
				tags[latestTag] = only
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

// again makes the next look at every file a real one.
func (d *definitionFiles) again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		f.looked = time.Time{}
	}
}

// unaudited returns the images that were read since it was called last.
func (d *definitionFiles) unaudited() []*imagefile.Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	images := d.changed
	d.changed = nil
	return images
}

// retain forgets all files but these.
func (d *definitionFiles) retain(files map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.files, func(file string, _ *definitionFile) bool { return !files[file] })
}

// faults returns what is broken now, in the order of file names.
func (d *definitionFiles) faults() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []error
	for _, file := range slices.Sorted(maps.Keys(d.files)) {
		if err := d.files[file].fault; err != nil {
			out = append(out, err)
		}
	}
	return out
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
	inode, ctime := changeOf(info)
	return fmt.Sprintf("%v %d %d %d %d", info.Mode(), info.Size(), info.ModTime().UnixNano(), inode, ctime)
}

// audit looks at what was read: it makes base images known that are files, and logs which images cannot be served, as
// store paths in their contents are not valid. Names come and go, and other faults cost more to find: they are told when
// the image is asked for.
func (m *images) audit(ctx context.Context, images []*imagefile.Image) {
	ctx, cancel := context.WithTimeout(ctx, longestAudit)
	defer cancel()
	valid := make(map[string]bool)
	for _, image := range images {
		if _, err := m.resolver.base(image.FromImage); err != nil {
			m.log.Warn("image cannot be served", "image", image.Repository(), "at", image.At.String(), "reason", fmt.Errorf("fromImage: %w", err))
		}
		for _, c := range image.Contents {
			if valid[c.Text] || !strings.HasPrefix(c.Text, "/") || ctx.Err() != nil {
				continue
			}
			if _, err := m.resolver.choices(ctx, c.Text); err != nil {
				m.log.Warn("image cannot be served", "image", image.Repository(), "at", c.At.String(), "reason", err)
				continue
			}
			valid[c.Text] = true
		}
	}
}
