package layer

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Blobs keeps encoded layers in a directory, within a number of bytes; those used least recently go first. Every one
// can be made again. A file has its digest for a name and gets it when it is complete, so that a process that is killed
// leaves no half of one. Safe for concurrent use; one process at a time.
type Blobs struct {
	dir string
	max int64

	mu    sync.Mutex // guards what follows
	order list.List  // of *keptBlob, the one used last in front
	kept  map[string]*list.Element
	size  int64
}

type keptBlob struct {
	name     string // hex digits of the digest
	size     int64
	verified bool // read through by this process
}

const tempBlob = "incomplete-"

// OpenBlobs opens the cache in dir, which it makes if need be, for at most so many bytes. Files that are none of its own
// are left alone.
func OpenBlobs(dir string, most int64) (*Blobs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasPrefix(e.Name(), tempBlob):
			_ = os.Remove(filepath.Join(dir, e.Name())) // of a process that was killed
		case isDigest(e.Name()):
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	b := &Blobs{dir: dir, max: most, kept: make(map[string]*list.Element)}
	for _, f := range files {
		b.insert(&keptBlob{name: f.Name(), size: f.Size()})
	}
	return b, nil
}

func isDigest(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == sha256.Size && name == strings.ToLower(name)
}

func (b *Blobs) insert(k *keptBlob) {
	if e := b.kept[k.name]; e != nil {
		b.forget(e)
	}
	b.kept[k.name] = b.order.PushFront(k)
	b.size += k.size
	for b.size > b.max && b.order.Len() > 0 {
		last := b.order.Back()
		_ = os.Remove(b.file(last.Value.(*keptBlob).name)) // who reads it goes on reading
		b.forget(last)
	}
}

func (b *Blobs) forget(e *list.Element) {
	k := b.order.Remove(e).(*keptBlob)
	delete(b.kept, k.name)
	b.size -= k.size
}

func (b *Blobs) file(name string) string { return filepath.Join(b.dir, name) }

// open returns the file of a blob, which the caller closes; one that is not there gives an error matching
// [fs.ErrNotExist]. A file that an earlier process left is read through once before it is trusted.
func (b *Blobs) open(d v1.Hash, size int64) (*os.File, error) {
	b.mu.Lock()
	e := b.kept[d.Hex]
	verified := false
	if e != nil {
		b.order.MoveToFront(e)
		verified = e.Value.(*keptBlob).verified
	}
	b.mu.Unlock()
	if e == nil {
		return nil, fs.ErrNotExist
	}
	f, err := os.Open(b.file(d.Hex))
	if err == nil && !verified {
		err = verify(f, d, size)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		if e == b.kept[d.Hex] {
			b.forget(e)
		}
		if f != nil {
			f.Close()
		}
		return nil, fmt.Errorf("blob cache: %v: %w", err, fs.ErrNotExist)
	}
	e.Value.(*keptBlob).verified = true
	now := time.Now()
	_ = os.Chtimes(f.Name(), now, now) // the order of use, for the next process
	return f, nil
}

func verify(f *os.File, d v1.Hash, size int64) error {
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != size || hex.EncodeToString(h.Sum(nil)) != d.Hex {
		return errors.Join(errors.New("damaged"), os.Remove(f.Name()))
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// takes reports whether a blob of this size may be kept.
func (b *Blobs) takes(size int64) bool { return size <= b.max }

// create makes a file for a blob that is being written. The caller ends it with keep or drop.
func (b *Blobs) create() (*os.File, error) { return os.CreateTemp(b.dir, tempBlob) }

// keep closes f and gives it its name. The bytes must be those of the digest.
func (b *Blobs) keep(f *os.File, d v1.Hash, size int64) error {
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Rename(f.Name(), b.file(d.Hex)); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	b.insert(&keptBlob{name: d.Hex, size: size, verified: true})
	return nil
}

// drop closes f and removes it.
func (b *Blobs) drop(f *os.File) {
	f.Close()
	_ = os.Remove(f.Name())
}
