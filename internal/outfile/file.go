// Package outfile writes a file that a user asked for: whole or not at all, or into a pipe, or to standard output.
//
// It owns when a file gets its name, and how a write to a pipe that nobody reads is given up. It must not know what is
// written.
package outfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile makes a file of what write writes. The file gets its name when it is complete and on the disk: until then,
// and if write fails, there is a hidden file beside it, or none. A file of that name is replaced if replace is set, else
// it gives an error matching [fs.ErrExist] before write is called, or after it if the file was made meanwhile; what is no
// regular file is not replaced, and gives one matching [fs.ErrInvalid].
func WriteFile(name string, replace bool, write func(io.Writer) error) (err error) {
	if err := vacant(name, replace); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(name), ".nixreg-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // less the umask, as any file of the user's
	if err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: errors.Unwrap(err)} // nobody knows the other name
	}
	defer func() {
		f.Close() // again, if all went well
		if e := os.Remove(temp); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		return os.Rename(temp, name)
	}
	err = os.Link(temp, name) // which replaces nothing
	switch {
	case errors.Is(err, fs.ErrExist):
		return occupied(name)
	case err != nil: // no links on such a disk, it may be
		return claim(temp, name)
	}
	return nil
}

// claim renames a file to a name that must be free, where there are no links. O_EXCL tells who was first: it is this
// one's own empty file that is replaced then. A crash in between leaves that.
func claim(temp, name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return occupied(name)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), os.Rename(temp, name)); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func occupied(name string) error { return fmt.Errorf("%s: %w", name, fs.ErrExist) }

// vacant says what is wrong with a name for a new file.
func vacant(name string, replace bool) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return notRegular(name)
	case !replace:
		return occupied(name)
	}
	return nil
}

// notRegular is the error for the name of something that is not a file to replace. It matches [fs.ErrInvalid], which its
// text leaves out.
type notRegular string

func (n notRegular) Error() string { return string(n) + ": is no regular file" }

func (notRegular) Is(target error) bool { return target == fs.ErrInvalid }
