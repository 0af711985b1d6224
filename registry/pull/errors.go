package pull

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
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

// malformed is for a document that a parser refuses. What the parser says may have any text of the document, of any
// length: what is passed on is short, and fit for a terminal.
func malformed(err error) error {
	said := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, err.Error())
	return corrupt("%.*s", maxSaid, said)
}

const maxSaid = 200

func unsupported(format string, args ...any) error {
	return &kindError{errors.ErrUnsupported, fmt.Errorf(format, args...)}
}
