package realise

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// ErrBusy is matched by the error of a call for which too many others wait. It matches [store.ErrUnavailable].
var ErrBusy = fmt.Errorf("too many builds wait: %w", store.ErrUnavailable)

// errClosed is the error of calls during and after Close.
var errClosed = fmt.Errorf("builder is closed: %w", store.ErrUnavailable)

// BuildError is the error of an evaluation or a build that failed. It matches [context.DeadlineExceeded] if that took too long.
type BuildError struct {
	What  string   // "build hello for x86_64-linux", "build hello for x86_64-linux: stopped after 30m0s"
	Lines []string // the last lines of Nix or the builder: at most 10 and 1 KiB, without control characters
	Err   error    // the exit of nix
}

// Error is one line.
func (e *BuildError) Error() string {
	if len(e.Lines) == 0 {
		return e.What + ": nix: " + e.Err.Error()
	}
	return e.What + ": nix: " + strings.Join(e.Lines, " | ")
}

// Detail has the lines, one each, for the user who asked for the build. Other packages look for this method.
func (e *BuildError) Detail() string { return strings.Join(e.Lines, "\n") }

func (e *BuildError) Unwrap() error { return e.Err }

// failure makes an error of an exit of nix other than 0, by its output.
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
