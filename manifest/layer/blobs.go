package layer

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// Blobs keeps encoded layers in a directory, within a number of bytes; those used least recently go first. Every one
// can be made again. A file has its digest for a name and gets it when it is complete, so that a process that is killed
// leaves no half of one. A file is read through once before this process trusts it, and again when it has changed since.
// Safe for concurrent use; one process at a time.
type Blobs struct {
	dir string
	max int64
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	order list.List  // of *keptBlob, the one used last in front
	kept  map[string]*list.Element
	size  int64
}

// keptBlob is one file. What it says of the file does not change: a file in another state is another keptBlob.
type keptBlob struct {
	name  string // hex digits of the digest
	size  int64
	state filestamp.Stamp // of the file whose bytes are right; zero if this process has not read them
	used  time.Time       // guarded by Blobs.mu; zero if this process has not used it
}

const (
	tempBlob   = "incomplete-"
	checkPiece = 4 << 20 // bytes of a file that are read between two looks at the context
)

// errNotKept is about a blob of which there is no file that is known to be right.
var errNotKept = errors.New("not kept, or not as it was")

// OpenBlobs opens the cache in dir, which it makes if need be, for at most so many bytes. Files that are none of its own
// are left alone. The log gets what was found damaged; nil is silence. The caller closes the cache.
func OpenBlobs(dir string, most int64, log *slog.Logger) (*Blobs, error) {
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
	b := &Blobs{dir: dir, max: most, log: cmp.Or(log, slog.New(slog.DiscardHandler)), kept: make(map[string]*list.Element)}
	for _, f := range files {
		b.insert(&keptBlob{name: f.Name(), size: f.Size()})
	}
	return b, nil
}

// Close writes down for the next process what was used when. Until then no file is touched: it would look changed.
func (b *Blobs) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for e := b.order.Back(); e != nil; e = e.Prev() {
		k := e.Value.(*keptBlob)
		if k.used.IsZero() {
			continue
		}
		if err := os.Chtimes(b.file(k.name), k.used, k.used); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("blob cache: %d files cannot be touched: %w", len(errs), errs[0])
	}
	return nil
}

func isDigest(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == sha256.Size && name == strings.ToLower(name)
}

// KeptBlobs lists the files of a cache's directory, each with the SHA-256 that its bytes should have. An absent directory has
// none. It is for those who look while no process has the cache open.
func KeptBlobs(dir string) (map[string][sha256.Size]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	kept := make(map[string][sha256.Size]byte)
	for _, e := range entries {
		if sum, err := hex.DecodeString(e.Name()); err == nil && isDigest(e.Name()) {
			kept[filepath.Join(dir, e.Name())] = [sha256.Size]byte(sum)
		}
	}
	return kept, nil
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

// find returns what is known of a blob's file, and counts it as used.
func (b *Blobs) find(d v1.Hash) *keptBlob {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.kept[d.Hex]
	if e == nil {
		return nil
	}
	b.order.MoveToFront(e)
	k := e.Value.(*keptBlob)
	k.used = time.Now()
	return k
}

// open returns the file of a blob, which the caller closes. One that is not there, or is not known to be right, gives an
// error matching errNotKept.
func (b *Blobs) open(d v1.Hash) (*os.File, *keptBlob, error) {
	k := b.find(d)
	if k == nil || k.state == (filestamp.Stamp{}) {
		return nil, nil, errNotKept
	}
	f, err := openBlob(b.file(k.name))
	if exhausted(err) {
		return nil, nil, fmt.Errorf("blob cache: %w", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("blob cache: %w: %v", errNotKept, err)
	}
	if err := k.unchanged(f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, k, nil
}

// openBlob opens what need not be a file any more.
func openBlob(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// exhausted reports whether err says nothing of the file.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// unchanged returns an error matching errNotKept if f, which is open, is not what was verified.
func (k *keptBlob) unchanged(f *os.File) error {
	if how := k.state.Changed(f); how != "" {
		return fmt.Errorf("blob cache: %s: %w: %s", k.name, errNotKept, how)
	}
	return nil
}

// writeRange writes a range of a blob and returns how many bytes w took. An error that matches errNotKept says that the
// file is not there, or is not what was verified.
func (b *Blobs) writeRange(ctx context.Context, w io.Writer, d v1.Hash, off, n int64) (done int64, err error) {
	f, k, err := b.open(d)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	done, err = filestamp.WriteRange(ctx, w, f, off, n, func() error { return k.unchanged(f) })
	if errors.Is(err, syscall.EIO) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.replace(k, filestamp.Stamp{}) // to be read through again
		err = fmt.Errorf("blob cache: %s: %w: %w", k.name, errNotKept, err)
	}
	return done, err
}

// check reads the file of a blob through, unless it is known to be right, and removes one that is wrong. After a nil error
// it is right.
func (b *Blobs) check(ctx context.Context, d v1.Hash, size int64) error {
	k := b.find(d)
	if k == nil {
		return errNotKept
	}
	f, err := openBlob(b.file(k.name))
	if err == nil {
		defer f.Close()
		if k.state != (filestamp.Stamp{}) && k.unchanged(f) == nil {
			return nil
		}
		var state filestamp.Stamp
		if state, err = verify(ctx, f, d, size); err == nil {
			b.replace(k, state)
			return nil
		}
	}
	if ctx.Err() != nil || exhausted(err) {
		return err
	}
	b.log.Warn("kept layer is made again", "file", b.file(k.name), "because", err)
	b.remove(k)
	return fmt.Errorf("blob cache: %w: %v", errNotKept, err)
}

// verify compares the bytes of a file with its digest, and returns the state of the file.
func verify(ctx context.Context, f *os.File, d v1.Hash, size int64) (state filestamp.Stamp, err error) {
	filestamp.Backdate(f.Name())
	info, err := f.Stat()
	if err != nil {
		return state, err
	}
	state, _ = filestamp.Of(info)
	switch {
	case !info.Mode().IsRegular():
		return state, errors.New("it is no regular file")
	case state.Size != size:
		return state, fmt.Errorf("it has %d bytes, not %d", state.Size, size)
	}
	h := sha256.New()
	for left := size; left > 0; left -= checkPiece {
		if err := ctx.Err(); err != nil {
			return state, err
		}
		if _, err := io.CopyN(h, f, min(left, checkPiece)); err != nil {
			return state, err
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.Hex {
		return state, fmt.Errorf("its bytes have the digest %s", got)
	}
	if how := state.Changed(f); how != "" {
		return state, fmt.Errorf("while it was read: %s", how)
	}
	return state, nil
}

// replace notes another state of a file, unless the blob has another file by now.
func (b *Blobs) replace(k *keptBlob, state filestamp.Stamp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.kept[k.name]; e != nil && e.Value == k {
		e.Value = &keptBlob{name: k.name, size: k.size, state: state, used: k.used}
	}
}

// remove removes a file with what is known of it, unless the blob has another file by now.
func (b *Blobs) remove(k *keptBlob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.kept[k.name]; e != nil && e.Value == k {
		b.forget(e)
		_ = os.Remove(b.file(k.name)) // of a directory in its place, only if it is empty
	}
}

// takes reports whether a blob of this size may be kept.
func (b *Blobs) takes(size int64) bool { return size <= b.max }

// create makes a file for a blob that is being written. The caller ends it with keep or drop.
func (b *Blobs) create() (*os.File, error) { return os.CreateTemp(b.dir, tempBlob) }

// keep gives f its name and closes it. The bytes must be those of the digest.
func (b *Blobs) keep(f *os.File, d v1.Hash, size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Rename(f.Name(), b.file(d.Hex)); err != nil {
		b.drop(f)
		return err
	}
	filestamp.Backdate(b.file(d.Hex))
	k := &keptBlob{name: d.Hex, size: size, used: time.Now()}
	info, err := f.Stat()
	if closed := f.Close(); err == nil && closed == nil && info.Size() == size { // else it is read through at its first use
		k.state, _ = filestamp.Of(info)
	}
	b.insert(k)
	return nil
}

// drop closes f and removes it.
func (b *Blobs) drop(f *os.File) {
	f.Close()
	_ = os.Remove(f.Name())
}
