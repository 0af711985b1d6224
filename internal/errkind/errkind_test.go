package errkind

import (
	"errors"
	"io"
	"io/fs"
	"testing"
)

func TestNew(t *testing.T) {
	err := New(errors.ErrUnsupported, "line %d: %w", 3, io.ErrUnexpectedEOF)
	if got, want := err.Error(), "line 3: unexpected EOF"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrInvalid) {
		t.Errorf("%v does not match its kind and its cause alone", err)
	}
	if err := Invalid("name %q", "x"); !errors.Is(err, fs.ErrInvalid) || err.Error() != `name "x"` {
		t.Errorf("Invalid gives %v", err)
	}
}
