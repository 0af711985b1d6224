package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// People read the reason of an error and not its kind, unless that is the reason.
func TestMessage(t *testing.T) {
	for want, err := range map[string]error{
		"store x: unknown parameter":    fmt.Errorf("store x: unknown parameter: %w", fs.ErrInvalid),
		"mkdir x: invalid argument":     &os.PathError{Op: "mkdir", Path: "x", Err: syscall.EINVAL},
		"list x: file does not exist":   fmt.Errorf("list x: %w", fs.ErrNotExist),
		"bad value: invalid argument x": fmt.Errorf("bad value: %w x", fs.ErrInvalid),
	} {
		if got := message(err); got != want {
			t.Errorf("%v: message %q, want %q", err, got, want)
		}
	}
}
