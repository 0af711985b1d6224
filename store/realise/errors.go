package realise

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// ErrBusy is matched by the error of a call that would have to wait for its turn behind too many others. It matches
// store.ErrUnavailable, too.
var ErrBusy = fmt.Errorf("too many builds wait: %w", store.ErrUnavailable)

// errClosed is what those get who wait while the builder is closed, and who ask later.
var errClosed = fmt.Errorf("builder is closed: %w", store.ErrUnavailable)

// BuildError is the error of an evaluation or a build that Nix refused, that failed, or that took too long: then it matches
// context.DeadlineExceeded.
type BuildError struct {
	What  string   // "build hello for x86_64-linux", "build hello for x86_64-linux: stopped after 30m0s"
	Lines []string // the last lines Nix or the builder wrote: at most 10 and 1 KiB, free of control characters
	Err   error    // how nix ended
}

// Error is one line.
func (e *BuildError) Error() string {
	if len(e.Lines) == 0 {
		return e.What + ": nix: " + e.Err.Error()
	}
	return e.What + ": nix: " + strings.Join(e.Lines, " | ")
}

// Detail is the lines as they were written, for whoever asked for the build; others find it by its shape.
func (e *BuildError) Detail() string { return strings.Join(e.Lines, "\n") }

func (e *BuildError) Unwrap() error { return e.Err }

// failure tells what an exit of nix other than 0 means, by what it wrote.
//
// Source: Nix, libcmd/installables.cc and libexpr/attr-path.cc (messages of 2.8 and 2.31).
func failure(what string, t *tail, exit error) error {
	for _, l := range t.lines(maxLines, maxTail) {
		if !strings.HasPrefix(l, "error: ") {
			continue
		}
		switch {
		case strings.Contains(l, "does not provide attribute"), strings.Contains(l, "in selection path") && strings.Contains(l, "not found"):
			return fmt.Errorf("%s: no such attribute: %w", what, fs.ErrNotExist)
		case strings.Contains(l, "is not a derivation"), strings.Contains(l, "does not evaluate to a derivation"), strings.Contains(l, "to be a derivation"):
			return fmt.Errorf("%s: not a package: %w", what, fs.ErrNotExist)
		}
	}
	return &BuildError{What: what, Lines: t.last(), Err: exit}
}
