// Package fault holds the errors of images, which have two texts.
//
// The text of Error is for the log and for nixreg check: it may quote definitions, archives and what links lead to. The text of
// the method Public is for clients and never has the text of a file; that of the first error of a chain counts. The package
// must not know how images are made.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/store"
)

const SeeLog = "; the log of nixreg and `nixreg check` say more"

// publicError is an error with a text for clients.
type publicError interface {
	error
	Public() string
}

// IsPublic reports whether an error of the chain of err has a text for clients.
func IsPublic(err error) bool {
	p := publicError(nil)
	return errors.As(err, &p)
}

// Absent returns an error that matches [fs.ErrNotExist] and has no other text.
func Absent(text string) error { return errkind.New(fs.ErrNotExist, "%s", text) }

// WithPublic gives err a text for clients.
func WithPublic(err error, public string) error { return &concealed{err, public} }

type concealed struct {
	error
	public string
}

func (e *concealed) Unwrap() error  { return e.error }
func (e *concealed) Public() string { return e.public }

// Phrase gives err words for its kind, which [reason] returns. They say more than the words for every error of that kind.
func Phrase(err error, words string) error { return &phrased{err, words} }

type phrased struct {
	error
	words string
}

func (e *phrased) Unwrap() error { return e.error }

// Place adds the position of a definition to err, unless err has one. The text for clients has the position and the
// reason, and nothing of the file.
func Place(position string, err error) error {
	if IsPlaced(err) {
		return err
	}
	return &placed{position, err}
}

// IsPlaced reports whether err has the position of a definition.
func IsPlaced(err error) bool {
	e := (*placed)(nil)
	return errors.As(err, &e)
}

type placed struct {
	position string
	err      error
}

func (e *placed) Error() string { return e.position + ": " + e.err.Error() }
func (e *placed) Unwrap() error { return e.err }
func (e *placed) Public() string {
	return "the definition at " + filepath.Base(e.position) + " has a fault: " + Reason(e.err) + SeeLog
}

// Conceal gives err a text for clients, unless it has one: the image cannot be served, and the reason.
func Conceal(repository string, err error) error {
	if err == nil || IsPublic(err) {
		return err
	}
	return ConcealAll(repository, err)
}

// ConcealAll is conceal for an image that a file describes. A text for clients about a package may quote that file, so it
// is replaced.
func ConcealAll(repository string, err error) error {
	if err == nil || IsPlaced(err) {
		return err
	}
	return WithPublic(err, fmt.Sprintf("image %s cannot be served: %s%s", repository, Reason(err), SeeLog))
}

// OfFile returns the error of an image that is a file.
func OfFile(repository, file string, err error) error {
	base := filepath.Base(file)
	public := fmt.Sprintf("image %s (%s) has a fault: %s%s", repository, base, Lines(base, err)[0], SeeLog)
	return WithPublic(fmt.Errorf("image %s (%s): %w", repository, base, err), public)
}

// Reason returns the kind of an error in words, none of which is from a file.
func Reason(err error) string {
	var errno syscall.Errno
	var own *phrased
	switch {
	case errors.As(err, &own):
		return own.words
	case errors.Is(err, store.ErrUnavailable):
		return "a store cannot be asked now"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, fs.ErrPermission):
		return "something that it needs may not be read"
	case errors.Is(err, fs.ErrNotExist):
		return "something that it needs is not there"
	case errors.Is(err, errors.ErrUnsupported):
		return "something in it is not supported"
	case errors.Is(err, fs.ErrInvalid):
		return "something in it is wrong"
	}
	return "it cannot be made now"
}

// Lines returns the problems of a file for clients, one a line.
func Lines(base string, err error) []string {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the problems of a definition file
		all = joined.Unwrap()
	}
	var lines []string
	for _, err := range all {
		if p := publicError(nil); errors.As(err, &p) {
			lines = append(lines, p.Public())
		}
	}
	if len(lines) < len(all) {
		return []string{base + ": " + Reason(err)}
	}
	return lines
}
