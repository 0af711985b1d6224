package pull

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrCorrupt is matched by errors of bytes that are not those that a digest or a configuration promised.
var ErrCorrupt = errors.New("corrupt")

// kindError is an error of some kind that need not be in its words.
type kindError struct {
	kind, err error
}

func (e *kindError) Error() string { return e.err.Error() }

func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

func invalid(format string, args ...any) error {
	return &kindError{fs.ErrInvalid, fmt.Errorf(format, args...)}
}

func corrupt(format string, args ...any) error {
	return &kindError{ErrCorrupt, fmt.Errorf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &kindError{errors.ErrUnsupported, fmt.Errorf(format, args...)}
}
