package packages

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixreg/nixreg/store"
)

// UnknownRepository returns the error about an unknown repository.
func UnknownRepository(repository string) error {
	return &unknownError{fmt.Sprintf("no image or package called %s", repository)}
}

// UnknownTag returns the error about an unknown tag of a repository.
func UnknownTag(repository, tag string) error {
	return &unknownError{fmt.Sprintf("%s has no tag %s", repository, tag)}
}

// Unknown returns an error about an unknown name with a text of the caller.
func Unknown(text string) error { return &unknownError{text} }

// unknownError is about an unknown name. It matches [fs.ErrNotExist]. Its text is public: it has only the name of the request.
type unknownError struct{ text string }

func (e *unknownError) Error() string        { return e.text }
func (e *unknownError) Public() string       { return e.text }
func (e *unknownError) Is(target error) bool { return target == fs.ErrNotExist }

// IsUnknown reports whether err is about an unknown name, and not about a known name whose path is absent.
func IsUnknown(err error) bool {
	e := (*unknownError)(nil)
	return errors.As(err, &e)
}

// absentError is about a known package that is absent. It matches [fs.ErrNotExist]. Its text is public: it has only names of
// packages and store paths.
type absentError struct{ text string }

func (e *absentError) Error() string        { return e.text }
func (e *absentError) Public() string       { return e.text }
func (e *absentError) Is(target error) bool { return target == fs.ErrNotExist }

// reason returns the text for clients of an error, or "".
func reason(err error) string {
	var p interface{ Public() string }
	if errors.As(err, &p) {
		return p.Public()
	}
	return ""
}

// IsUserError reports whether err is a mistake in the request, and not a failure of nixreg or an unavailable store.
func IsUserError(err error) bool {
	if errors.Is(err, store.ErrUnavailable) {
		return false
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, errors.ErrUnsupported)
}
