package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// People read the reason of an error and not its kind, unless that is the reason.
func TestSaid(t *testing.T) {
	for want, err := range map[string]error{
		"store x: unknown parameter":    fmt.Errorf("store x: unknown parameter: %w", fs.ErrInvalid),
		"mkdir x: invalid argument":     &os.PathError{Op: "mkdir", Path: "x", Err: syscall.EINVAL},
		"list x: file does not exist":   fmt.Errorf("list x: %w", fs.ErrNotExist),
		"bad value: invalid argument x": fmt.Errorf("bad value: %w x", fs.ErrInvalid),
	} {
		if got := said(err); got != want {
			t.Errorf("%v: said as %q, want %q", err, got, want)
		}
	}
}

// What the place of a setting is put in front of is an error about that setting alone.
func TestFrom(t *testing.T) {
	origins := map[string]string{"mirror": "f:3", "mirror-ttl": "NIXREG_MIRROR_TTL"}
	for text, want := range map[string]string{
		`mirror "x": want NAME`:     `f:3: mirror "x": want NAME`,
		`mirror-ttl "5": want time`: `NIXREG_MIRROR_TTL: mirror-ttl "5": want time`,
		"mirror-listen: none":       "mirror-listen: none",
		"mirrors a and b":           "mirrors a and b",
		"mirror":                    "f:3: mirror",
	} {
		if got := from(origins, errors.New(text)); got.Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := from(origins, nil); err != nil {
		t.Error(err)
	}
}
