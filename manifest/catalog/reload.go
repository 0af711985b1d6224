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

// longestLook bounds how long Faults waits for a new listing.
const longestLook = time.Second

// Reload reads the definition files that were changed, and logs the broken ones. Without Reload, a request does the same if the
// last listing is more than a second old.
func (s *Catalog) Reload(ctx context.Context) {
	_, err := s.images.look(ctx, true)
	if err == nil {
		err = s.images.register(ctx)
	}
	if err != nil {
		s.log.Error("image files cannot be read anew", "error", err)
	}
}

// Faults returns the problems in definition files, each with the file's base name, line, column, and kind of problem. It returns
// no text of a file; the log has that. If a file is broken, the images of its last valid content are served. Faults also returns
// the images that cannot be served, as far as this is known before a client asks for them, and the served ones that clients refuse. It lists the files again if the last
// listing is older than a second. If this takes more than a second, or ctx ends, Faults returns what was known before.
func (s *Catalog) Faults(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	s.images.look(ctx, false) // on an error the last known faults count
	var out []string
	s.images.definitions.each(func(file string, f definitionFile) {
		if f.fault != nil {
			out = append(out, fault.Lines(filepath.Base(file), f.fault)...)
		}
		for _, fault := range f.faults {
			out = append(out, fault.public())
		}
	})
	return append(out, s.refusals(ctx)...)
}

// Load reads the definition files for the first time. It returns the mistakes in them as an error. A file that cannot be read is
// only logged, because it must not keep the other files from being served: for example a link to a deleted store path, or a link
// out of --images.
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

// Bases returns the base images from registries that definitions name now, in the same spelling: docker://HOST/REPO@DIGEST.
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
