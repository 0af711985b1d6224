package packages

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixreg/nixreg/store"
)

// UnknownRepository is the error that nobody knows a repository by that name.
func UnknownRepository(repository string) error {
	return &unknownError{fmt.Sprintf("no image or package called %s", repository)}
}

// UnknownTag is the error that a repository has no such tag.
func UnknownTag(repository, tag string) error {
	return &unknownError{fmt.Sprintf("%s has no tag %s", repository, tag)}
}

// Unknown is an error about a name that nobody knows, in words of the caller's own.
func Unknown(text string) error { return &unknownError{text} }

// unknownError is about a name that nobody knows. It matches [fs.ErrNotExist]. Its text is for everybody: it has what was asked
// for.
type unknownError struct{ text string }

func (e *unknownError) Error() string        { return e.text }
func (e *unknownError) Public() string       { return e.text }
func (e *unknownError) Is(target error) bool { return target == fs.ErrNotExist }

// IsUnknown reports whether err is that nobody knows a name: not that what it names is not there.
func IsUnknown(err error) bool {
	e := (*unknownError)(nil)
	return errors.As(err, &e)
}

// absentError is about what is known and not there. It matches [fs.ErrNotExist]; its text says it all, and is for everybody: it
// has names of packages and of store paths.
type absentError struct{ text string }

func (e *absentError) Error() string        { return e.text }
func (e *absentError) Public() string       { return e.text }
func (e *absentError) Is(target error) bool { return target == fs.ErrNotExist }

// reason is the text for clients that an error has; "" if it has none.
func reason(err error) string {
	var p interface{ Public() string }
	if errors.As(err, &p) {
		return p.Public()
	}
	return ""
}

// IsUserError reports whether err is about what was asked for, not about nixreg's own work nor a store out of reach.
func IsUserError(err error) bool {
	if errors.Is(err, store.ErrUnavailable) {
		return false
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, errors.ErrUnsupported)
}
