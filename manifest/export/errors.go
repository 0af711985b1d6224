package export

import (
	"fmt"
	"io/fs"
)

// kindError is of a kind that its text need not name.
type kindError struct {
	text string
	kind error
}

func (e *kindError) Error() string        { return e.text }
func (e *kindError) Is(target error) bool { return target == e.kind }

func invalid(format string, args ...any) error {
	return &kindError{fmt.Sprintf(format, args...), fs.ErrInvalid}
}
