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

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
)

// Check returns the problems of image files, and of all image files in directories, one problem a line. A problem of a
// definition has a line and a column. Check calls warn for each warning; warn may be nil. Nothing else may use the catalog while
// Check runs.
func (s *Catalog) Check(ctx context.Context, files []string, warn func(error)) []error {
	s.images.env.WholeNames = true
	s.images.places.roots = files
	c := checker{names: s, env: s.images.env, owners: make(map[string]string), warn: warn}
	for _, file := range files {
		c.path(ctx, file)
	}
	return c.problems
}

type checker struct {
	names    *Catalog
	env      *draft.Env
	owners   map[string]string // the file of each repository
	problems []error
	warn     func(error) // may be nil
}

// note adds a problem.
func (c *checker) note(file string, err error) {
	if err != nil {
		c.problems = append(c.problems, inFile(file, err))
	}
}

// inFile puts the name of a file in front of err. Errors of definition files have their file and position already.
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
		var problems []error
		for _, m := range f.images {
			problems = append(problems, c.draft(ctx, file, m.definition))
		}
		err = errors.Join(problems...)
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

// own records that a repository belongs to a file. If it belongs to another file already, own returns an error.
func (c *checker) own(repository, file string) error {
	other := c.owners[repository]
	if other != "" && other != file {
		return fmt.Errorf("image %s is hidden by that of %s: %w", repository, other, fs.ErrInvalid)
	}
	c.owners[repository] = file
	return nil
}

// definitions checks the images of a definition file in the file's order. It checks all images of one name and tag together.
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
			c.note(file, c.env.Placed(m.At, err))
			continue
		}
		c.platforms(ctx, file, same)
	}
}

// platforms checks the images of one name and tag.
func (c *checker) platforms(ctx context.Context, file string, images []*imagefile.Image) {
	r := c.names.images.resolver
	var defs []*draft.Definition
	for _, m := range images {
		if c.unbuilt(ctx, file, m) {
			continue
		}
		d, err := r.definition(ctx, m)
		if err != nil {
			c.note(file, c.env.Placed(m.At, err))
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
			c.note(file, c.env.Placed(d.At, err))
		}
	}
}

// unbuilt reports whether an image has contents that have to be built. A check builds nothing, so for such an image unbuilt
// checks the rest of the definition.
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
			c.note(file, c.env.Placed(content.At, err))
		}
	}
	args, err := dockertools.ArgsOf(m)
	if err == nil {
		_, err = draft.MentionedPaths(ctx, c.env.Store, args)
	}
	if err != nil {
		c.note(file, c.env.Placed(m.At, err))
	}
	return true
}

// draft plans an image. A misspelled key of its config is a problem; draft passes all other warnings to c.warn.
func (c *checker) draft(ctx context.Context, file string, d *draft.Definition) error {
	objects, err := d.Objects(ctx, c.env)
	if err != nil {
		return err
	}
	image, err := d.Draft(ctx, c.env, objects)
	if err != nil {
		return err
	}
	place := func(at imagefile.Position, text string) error {
		err := errkind.Invalid("%s", text)
		if at.File != "" {
			err = c.env.Placed(at, err)
		}
		return inFile(file, err)
	}
	whiteouts, err := image.Whiteouts(ctx, c.env.Layers)
	if err != nil {
		return err
	}
	misspelled, warnings := image.Misspelled(), slices.Concat(image.Warnings(), whiteouts)
	slices.SortStableFunc(misspelled, func(x, y draft.Misspelled) int {
		return cmp.Or(cmp.Compare(x.At.Line, y.At.Line), cmp.Compare(x.At.Column, y.At.Column))
	})
	for _, m := range misspelled {
		at := m.At
		if at == (imagefile.Position{}) {
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
