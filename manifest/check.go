package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
)

// Check returns what is wrong with image files, or with all in some directories, as if they were served with cfg: as one
// error, one problem a line, in a definition file with line and column. Nothing is hashed. It matches the errors of all
// problems. What an image can be served with, but was hardly meant, goes to cfg.Warn.
func Check(ctx context.Context, cfg Config, files ...string) error {
	cfg.Images = nil
	s, err := newSource(cfg)
	if err != nil {
		return err
	}
	s.names.images.resolver.wholeNames = true
	s.names.images.places.roots = files
	c := checker{source: s, owners: make(map[string]string), warn: cfg.Warn}
	for _, file := range files {
		c.path(ctx, file)
	}
	return errors.Join(append(c.problems, s.Close())...)
}

type checker struct {
	source   *Source
	owners   map[string]string // the file that has a repository
	problems []error
	warn     func(error) // may be nil
}

// note adds a problem.
func (c *checker) note(file string, err error) {
	if err != nil {
		c.problems = append(c.problems, inFile(file, err))
	}
}

// inFile puts the name of a file in front of err; those in definition files name their place themselves.
func inFile(file string, err error) error {
	if !fault.IsPlaced(err) && !strings.HasPrefix(err.Error(), file+":") {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return err
}

func (c *checker) path(ctx context.Context, name string) {
	info, err := os.Stat(name)
	if err != nil {
		info, err = os.Lstat(name)
	}
	switch {
	case err != nil:
		c.note(name, err)
	case info.IsDir() && !finished.IsLayoutDirectory(name):
		c.source.names.images.scan(ctx, name, func(repository, file string) bool {
			c.file(ctx, repository, file)
			return ctx.Err() == nil
		})
	default:
		c.file(ctx, imageRepository(info.Name()), name)
	}
	c.note(name, ctx.Err())
}

func (c *checker) file(ctx context.Context, repository, file string) {
	b, err := c.source.names.images.content(ctx, file)
	if err == nil && isDefinition(file, b) {
		c.definitions(ctx, file, b)
		return
	}
	if err := c.own(repository, file); err != nil {
		c.note(file, err)
		return
	}
	f, err := c.source.names.images.ready(ctx, repository, file)
	if f != nil {
		err = c.ready(ctx, file, f)
	}
	if err != nil || f != nil {
		c.note(file, err)
		return
	}
	d, err := c.source.names.images.definition(ctx, repository, file)
	if err == nil {
		err = c.draft(ctx, file, d)
	}
	c.note(file, err)
}

// own notes whose a repository is; that it is another file's is an error.
func (c *checker) own(repository, file string) error {
	other := c.owners[repository]
	if other != "" && other != file {
		return fmt.Errorf("image %s is hidden by that of %s: %w", repository, other, fs.ErrInvalid)
	}
	c.owners[repository] = file
	return nil
}

// definitions checks the images of a definition file in its order, all of one name and tag together.
func (c *checker) definitions(ctx context.Context, file string, b []byte) {
	images, err := imagefile.Parse(file, b)
	c.note(file, err)
	names := byTag(images)
	for _, m := range images {
		same := names[m.Repository()][cmp.Or(m.Tag, packages.Latest)]
		if same[0] != m {
			continue
		}
		if err := c.own(m.Repository(), file); err != nil {
			c.note(file, c.source.names.images.resolver.placed(m.At, err))
			continue
		}
		c.platforms(ctx, file, same)
	}
}

// platforms checks the images of one name and tag.
func (c *checker) platforms(ctx context.Context, file string, images []*imagefile.Image) {
	r := c.source.names.images.resolver
	var defs []*Definition
	for _, m := range images {
		if c.unbuilt(ctx, file, m) {
			continue
		}
		d, err := r.definition(ctx, m)
		if err != nil {
			c.note(file, r.placed(m.At, err))
			continue
		}
		defs = append(defs, d)
	}
	if len(defs) > 1 {
		if err := r.platforms(ctx, defs); err != nil {
			c.note(file, err)
			return
		}
	}
	for _, d := range defs {
		if err := c.draft(ctx, file, d); err != nil {
			c.note(file, r.placed(d.At, err))
		}
	}
}

// unbuilt reports whether an image has contents that would have to be built. Nothing is built to check it: the rest of the
// definition is looked at.
func (c *checker) unbuilt(ctx context.Context, file string, m *imagefile.Image) bool {
	r := c.source.names.images.resolver
	builds := func(content imagefile.Content) bool {
		name, tag, _ := strings.Cut(content.Text, ":")
		return !strings.HasPrefix(name, "/") && r.builds.canBuild(ctx, name, cmp.Or(tag, packages.Latest))
	}
	if !slices.ContainsFunc(m.Contents, builds) {
		return false
	}
	for _, content := range m.Contents {
		if builds(content) {
			continue
		}
		if _, err := r.choices(ctx, content.Text, m.Architecture); err != nil {
			c.note(file, r.placed(content.At, err))
		}
	}
	args, err := dockertools.ArgsOf(m)
	if err == nil {
		_, err = mentionedPaths(ctx, r.store, args)
	}
	if err != nil {
		c.note(file, r.placed(m.At, err))
	}
	return true
}

// ready reads the documents of images that were made elsewhere.
func (c *checker) ready(ctx context.Context, file string, f *readyFile) error {
	var problems []error
	for _, m := range f.images {
		if r := m.definition.Ready; r.Root == nil {
			problems = append(problems, c.draft(ctx, file, m.definition))
		} else {
			problems = append(problems, c.layout(ctx, r))
		}
	}
	return errors.Join(problems...)
}

func (c *checker) layout(ctx context.Context, r *finished.Image) error {
	o, err := c.source.store.Object(ctx, r.Path)
	if err != nil {
		return err
	}
	l, err := finished.ReadLayout(ctx, c.source.store, o, r)
	if err != nil {
		return err
	}
	return l.Present(ctx, c.source.store, o)
}

// draft plans an image without hashing it. Misspelled keys of its config are problems, its other warnings go to c.warn.
func (c *checker) draft(ctx context.Context, file string, d *Definition) error {
	objects, err := c.source.objects(ctx, d)
	if err != nil {
		return err
	}
	b, err := c.source.draft(ctx, d, objects)
	if err != nil {
		return err
	}
	place := func(at imagefile.Position, text string) error {
		err := error(invalidConfig(text))
		if at.File != "" {
			err = c.source.names.images.resolver.placed(at, err)
		}
		return inFile(file, err)
	}
	warnings := b.image.Warnings
	slices.SortFunc(b.misspelled, func(x, y misspelledKey) int {
		p, q := d.unknownKeys[x.key], d.unknownKeys[y.key]
		return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
	})
	for _, m := range b.misspelled {
		at, found := d.unknownKeys[m.key]
		if !found {
			at = d.At
		}
		c.problems = append(c.problems, place(at, m.text))
		warnings = slices.DeleteFunc(warnings, func(w string) bool { return w == m.text })
	}
	for _, w := range warnings {
		if c.warn != nil {
			c.warn(place(d.At, w))
		}
	}
	return nil
}
