package blobs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// A cache's directory holds sha256/ab/<64 hex digits> for what is complete, and incoming/blob-<random> for what is not.
const (
	completeDir = "sha256"
	incomingDir = "incoming"
	tempPrefix  = "blob-"
)

// key is a sha256 digest.
type key [32]byte

func parseKey(d v1.Hash) (key, error) {
	k, ok := keyOf(d.Hex)
	if d.Algorithm != "sha256" || !ok {
		return key{}, fmt.Errorf("digest %.100q: %w", d.String(), fs.ErrInvalid)
	}
	return k, nil
}

func keyOf(digits string) (k key, ok bool) {
	if len(digits) != hex.EncodedLen(len(k)) || digits != strings.ToLower(digits) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(digits))
	return k, err == nil
}

func (k key) String() string { return "sha256:" + hex.EncodeToString(k[:]) }

// proof is the state of a file whose bytes were found right. It moves with what the cache itself does to the file, and is
// given up for another one when the file changes. The Cache's lock guards it.
type proof struct{ state filestamp.Stamp }

// openRegular opens a file for reading that is nothing but a file: neither a link nor a pipe that would block.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// createTemp makes a file for a blob that is yet to come.
func createTemp(dir string) (*os.File, error) {
	incoming := filepath.Join(dir, incomingDir)
	f, err := os.CreateTemp(incoming, tempPrefix)
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(incoming, 0o700) == nil { // someone tidied up
		f, err = os.CreateTemp(incoming, tempPrefix)
	}
	if err != nil {
		return nil, ownError(err)
	}
	return f, nil
}

// ownError is about the cache's own files. It hides the kinds that would be taken for the origin's answer: that a blob
// is not there, or not for everyone.
func ownError(err error) error {
	for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, errors.ErrUnsupported} {
		if errors.Is(err, kind) {
			return fmt.Errorf("blob cache: %v", err)
		}
	}
	return fmt.Errorf("blob cache: %w", err)
}

func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// readAt fills p from off on; a file that ends before is an error.
func readAt(f *os.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return ownError(err)
}

// stampOf returns the stamp of a file.
func stampOf(fi fs.FileInfo) filestamp.Stamp {
	s, _ := filestamp.Of(fi)
	return s
}
