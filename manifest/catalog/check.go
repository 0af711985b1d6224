package catalog

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

// Plan plans the image of a definition without hashing it. It returns the warnings about the image and, apart from them,
// the misspelled keys of its config.
type Plan func(ctx context.Context, d *Definition) (warnings []string, misspelled []Misspelled, err error)

// Misspelled is a key of a config that was meant to be another one, and the warning about it.
type Misspelled struct{ Key, Text string }

// invalidConfig is a problem of a config. It matches [fs.ErrInvalid].
type invalidConfig string

func (e invalidConfig) Error() string        { return string(e) }
func (e invalidConfig) Is(target error) bool { return target == fs.ErrInvalid }

// Check returns the problems of image files and of all files in directories, one problem a line. Problems of a definition
// have a line and a column. warn, which may be nil, gets the warnings. Nothing else may use the catalogue meanwhile.
func (s *Catalog) Check(ctx context.Context, files []string, plan Plan, warn func(error)) []error {
	s.images.resolver.wholeNames = true
	s.images.places.roots = files
	c := checker{names: s, plan: plan, owners: make(map[string]string), warn: warn}
	for _, file := range files {
		c.path(ctx, file)
	}
	return c.problems
}

type checker struct {
	names    *Catalog
	plan     Plan
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
		c.names.images.scan(ctx, name, func(repository, file string) bool {
			c.file(ctx, repository, file)
			return ctx.Err() == nil
		})
	default:
		c.file(ctx, imageRepository(info.Name()), name)
	}
	c.note(name, ctx.Err())
}

func (c *checker) file(ctx context.Context, repository, file string) {
	b, err := c.names.images.content(ctx, file)
	if err == nil && isDefinition(file, b) {
		c.definitions(ctx, file, b)
		return
	}
	if err := c.own(repository, file); err != nil {
		c.note(file, err)
		return
	}
	f, err := c.names.images.ready(ctx, repository, file)
	if f != nil {
		err = c.ready(ctx, file, f)
	}
	if err != nil || f != nil {
		c.note(file, err)
		return
	}
	d, err := c.names.images.definition(ctx, repository, file)
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
			c.note(file, c.names.images.resolver.placed(m.At, err))
			continue
		}
		c.platforms(ctx, file, same)
	}
}

// platforms checks the images of one name and tag.
func (c *checker) platforms(ctx context.Context, file string, images []*imagefile.Image) {
	r := c.names.images.resolver
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
	r := c.names.images.resolver
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
		_, err = MentionedPaths(ctx, r.store, args)
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
	o, err := c.names.images.store.Object(ctx, r.Path)
	if err != nil {
		return err
	}
	l, err := finished.ReadLayout(ctx, c.names.images.store, o, r)
	if err != nil {
		return err
	}
	return l.Present(ctx, c.names.images.store, o)
}

// draft plans an image. Misspelled keys of its config are problems; other warnings go to c.warn.
func (c *checker) draft(ctx context.Context, file string, d *Definition) error {
	warnings, misspelled, err := c.plan(ctx, d)
	if err != nil {
		return err
	}
	place := func(at imagefile.Position, text string) error {
		err := error(invalidConfig(text))
		if at.File != "" {
			err = c.names.images.resolver.placed(at, err)
		}
		return inFile(file, err)
	}
	slices.SortFunc(misspelled, func(x, y Misspelled) int {
		p, q := d.unknownKeys[x.Key], d.unknownKeys[y.Key]
		return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
	})
	for _, m := range misspelled {
		at, found := d.unknownKeys[m.Key]
		if !found {
			at = d.At
		}
		c.problems = append(c.problems, place(at, m.Text))
		warnings = slices.DeleteFunc(warnings, func(w string) bool { return w == m.Text })
	}
	for _, w := range warnings {
		if c.warn != nil {
			c.warn(place(d.At, w))
		}
	}
	return nil
}
