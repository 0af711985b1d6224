package catalog

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
)

// longestLook bounds how long Faults waits for news.
const longestLook = time.Second

// Reload reads anew the definition files that were changed. That happens by itself too, at a request, a second after the
// last look. What is broken is logged.
func (s *Catalog) Reload(ctx context.Context) {
	_, err := s.images.look(ctx, true)
	if err == nil {
		err = s.images.register(ctx)
	}
	if err != nil {
		s.log.Error("image files cannot be read anew", "error", err)
	}
}

// Faults returns what is broken in definition files, each problem with the file's base name, line and column, and its kind:
// no text of a file, which is in the log. Of a file that is broken the images are served that it had before. It also has the
// images that cannot be served, as far as that is known before they are asked for. It looks at the files if nobody did for a
// second, and returns what was known before if that takes longer than a second, or when ctx ends.
func (s *Catalog) Faults(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	s.images.look(ctx, false) // or not
	var out []string
	s.images.definitions.each(func(file string, f definitionFile) {
		if f.fault != nil {
			out = append(out, fault.Lines(filepath.Base(file), f.fault)...)
		}
		for _, fault := range f.faults {
			out = append(out, fault.public())
		}
	})
	return out
}

// Load reads the definition files for the first time. Mistakes in them are an error. A file that cannot be read, such as
// a link to a path that was collected, or out of --images, must not keep the others from being served: that is logged.
func (s *Catalog) Load(ctx context.Context) error {
	if err := s.images.register(ctx); err != nil {
		return err
	}
	var broken []error
	s.images.definitions.each(func(file string, f definitionFile) {
		var unread *unreadError
		var outside *outsideError
		if errors.As(f.fault, &unread) || errors.As(f.fault, &outside) {
			s.images.definitions.complain(file, f.fault, false)
		} else if f.fault != nil {
			broken = append(broken, f.fault)
		}
	})
	s.images.definitions.loaded()
	return errors.Join(broken...)
}

// Bases are the base images of registries that definitions name now, as they name them: docker://HOST/REPO@DIGEST.
func (s *Catalog) Bases() []string {
	names := make(map[string]string)
	s.images.definitions.each(func(_ string, f definitionFile) {
		for _, m := range f.images {
			if strings.HasPrefix(m.FromImage, draft.DockerTransport) {
				names[m.FromImage] = ""
			}
		}
	})
	return sortedKeys(names)
}
