package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/nixreg/nixreg/store"
)

// An error's text is for the log and for `nixreg check`: it may quote definitions, archives and what links lead to. What is
// for everybody is in its method Public, of the first error in the chain that has one. No text of a file is in there.

// publicError is such an error.
type publicError interface {
	error
	Public() string
}

// concealed is an error that has a text for everybody.
type concealed struct {
	error
	public string
}

func (e *concealed) Unwrap() error  { return e.error }
func (e *concealed) Public() string { return e.public }

const seeLog = "; the log of nixreg and `nixreg check` say more"

// conceal says no more of err than that an image cannot be served, and why by its kind, unless it has a text for everybody.
func conceal(repository string, err error) error {
	if p := publicError(nil); err == nil || errors.As(err, &p) {
		return err
	}
	return concealAll(repository, err)
}

// concealAll is conceal for an image that a file describes: what is for everybody of a package is not for one that a file names.
func concealAll(repository string, err error) error {
	if e := (*placedError)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return &concealed{err, fmt.Sprintf("image %s cannot be served: %s%s", repository, reason(err), seeLog)}
}

// ofFile is an error of the file of a repository.
func ofFile(repository, file string, err error) error {
	base := filepath.Base(file)
	public := fmt.Sprintf("image %s (%s) has a fault: %s%s", repository, base, publicLines(base, err)[0], seeLog)
	return &concealed{fmt.Errorf("image %s (%s): %w", repository, base, err), public}
}

// phrased is an error with words of ours for its kind, that tell more than those of [reason].
type phrased struct {
	error
	words string
}

func (e *phrased) Unwrap() error { return e.error }

// reason is the kind of an error in words, none of them of a file.
func reason(err error) string {
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

// publicLines are what everybody may know of the fault of a file, each problem in a line.
func publicLines(base string, err error) []string {
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
		return []string{base + ": " + reason(err)}
	}
	return lines
}
