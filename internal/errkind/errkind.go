// Package errkind makes errors that match a kind, such as [fs.ErrInvalid], without the words of the kind in their text.
//
// It owns nothing else: errors with more than a text and a kind are types of the packages that make them.
package errkind

import (
	"fmt"
	"io/fs"
)

// New returns the error of [fmt.Errorf] with these arguments. It also matches kind.
func New(kind error, format string, args ...any) error {
	return &withKind{fmt.Errorf(format, args...), kind}
}

// Invalid is [New] for [fs.ErrInvalid].
func Invalid(format string, args ...any) error { return New(fs.ErrInvalid, format, args...) }

type withKind struct{ text, kind error }

func (e *withKind) Error() string   { return e.text.Error() }
func (e *withKind) Unwrap() []error { return []error{e.kind, e.text} }
