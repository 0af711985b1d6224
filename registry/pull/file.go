package pull

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
// it gives an error matching [fs.ErrExist] before write is called; what is no regular file is never replaced, and gives
// one matching [fs.ErrInvalid].
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
		if err != nil {
			f.Close()
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// vacant says what is wrong with a name for a new file.
func vacant(name string, replace bool) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return invalid("%s: is no regular file", name)
	case !replace:
		return fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	return nil
}
