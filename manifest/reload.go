package manifest

import (
	"context"
	"errors"
	"strings"
)

// Reload reads anew the definition files that were changed. That happens by itself too, at a request, a second after the
// last look. What is broken is logged.
func (s *Source) Reload(ctx context.Context) {
	s.images.definitions.again()
	if err := s.images.register(ctx); err != nil {
		s.log.Error("image files cannot be read anew", "error", err)
	}
}

// Faults returns what was broken in definition files when they were looked at last, each problem with file, line and
// column: of such a file the images are served that it had before.
func (s *Source) Faults() []string {
	var out []string
	for _, err := range s.images.definitions.faults() {
		out = append(out, strings.Split(err.Error(), "\n")...)
	}
	return out
}

// load reads the definition files for the first time. Mistakes in them are an error. A file that cannot be read, such as
// a link to a path that was collected, must not keep the others from being served: that is logged.
func (s *Source) load(ctx context.Context) error {
	if err := s.images.register(ctx); err != nil {
		return err
	}
	var broken []error
	for _, err := range s.images.definitions.faults() {
		if unread := (*unreadError)(nil); errors.As(err, &unread) {
			s.images.definitions.complain(unread.file, err, false)
			continue
		}
		broken = append(broken, err)
	}
	s.images.definitions.loaded()
	return errors.Join(broken...)
}
