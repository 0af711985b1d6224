package diskcache

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
)

var (
	// ErrAbsent is matched by the error about a key without a file, or whose file was wrong and is removed.
	ErrAbsent = fmt.Errorf("not kept: %w", fs.ErrNotExist)
	// ErrChanged is matched by the error about a file that has changed since it was opened. The next caller gets a right one.
	ErrChanged = errors.New("changed on disk")
	// ErrSize is matched by the error about a fill that writes more or fewer bytes than it announced.
	ErrSize = errors.New("not the announced size")

	errClosed = fmt.Errorf("disk cache: %w", fs.ErrClosed)
)

// Layout names the files of a cache. A key is the name of its file relative to the directory, with slashes.
type Layout struct {
	// Keys is the pattern of all keys, as [path.Match] takes it: "*.nar", "sha256/??/*". Its elements before the last one match
	// directories.
	Keys string
	// Incomplete is the pattern of the files that are being filled, as [os.CreateTemp] takes it: "tmp-*", "incoming/blob-*".
	Incomplete string
	// Sum tells whether a name that matches Keys is a key, and the SHA-256 that the bytes must have. A cache with
	// Options.Verify ignores the sum.
	Sum func(key string) (sum [sha256.Size]byte, ok bool)
}

// Options configures a [Cache].
type Options struct {
	Dir    string // is made if it is absent
	Layout Layout
	// Max is the size of all files together, in bytes. Files in use count, but are not evicted. A file that is larger than Max
	// does not count, and goes after its last use.
	Max int64
	// Linger is how long one file larger than Max stays after its last use.
	Linger time.Duration
	// Spare is how many bytes of the file system stay free. Files are evicted for it; if that is not enough, a new file is
	// not kept, and below half of Spare it fails with ENOSPC.
	Spare int64
	// Sync makes the bytes of a file durable before it gets its name.
	Sync bool
	// Verify reads a file to its end and returns an error if the bytes are not those of the key. Default: SHA-256 by Layout.Sum.
	Verify func(ctx context.Context, key string, r io.Reader) error
	Log    *slog.Logger // gets what was found wrong; nil is silence
}

// Stats is what a Cache holds and has done since it was opened.
type Stats struct {
	Files   int
	InUse   int   // files that are pinned
	Bytes   int64 // of files
	Growing int64 // bytes of the files that are being filled and will be kept

	Hits, Fills, Evictions int64
}

const (
	// usePrecision is how much the time of a file may lie behind its last use.
	usePrecision = time.Minute
	// past is how old the time of a file is at least, so that a later write cannot give the file the same time.
	past = 2 * time.Second
)

// entry is a file that has its name.
type entry struct {
	key   string
	size  int64
	stamp filestamp.Stamp // of the verified file; zero if this process has not verified it
	used  int64           // seconds since 1970
	saved int64           // the same, as the time of the file tells it to the next process
	pins  int             // reasons not to evict it
	at    *list.Element   // in Cache.recent; nil once it is removed
}

// index is the files that have their names, and the fields that all parts of a Cache share.
type index struct {
	Options
	group  *flight.Group
	checks [2]flight.Queue // for small and for large files

	writeAt   func(f *os.File, p []byte, off int64) (int, error)
	freeSpace func(dir string) (int64, error)
	open      func(name string) (*os.File, error)

	mu      sync.Mutex // guards what follows, and the entries; held while a file gets or loses its name
	closed  bool
	entries map[string]*entry
	recent  list.List // of *entry, the one used last in front
	large   *entry    // the file above Max that lingers; nil if there is none
	lingers *time.Timer
	evicted []*os.File // to be closed without the lock
	stats   Stats
}

// Path is the name of the file of a key.
func (c *index) Path(key string) string { return filepath.Join(c.Dir, filepath.FromSlash(key)) }

// load makes the directories, removes what is incomplete, and takes in the files, the one used last in front.
func (c *index) load() error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	for _, pattern := range []string{c.Layout.Keys, c.Layout.Incomplete} {
		if top, _, deep := strings.Cut(pattern, "/"); deep {
			if err := makeDir(filepath.Join(c.Dir, top)); err != nil {
				return err
			}
		}
	}
	err := walk(c.Dir, c.Layout.Incomplete, func(name string, d fs.DirEntry) error {
		if !d.Type().IsRegular() {
			return nil
		}
		return os.Remove(c.Path(name))
	})
	if err != nil {
		return err
	}
	type found struct {
		*entry
		modified time.Time
	}
	var all []found
	err = walk(c.Dir, c.Layout.Keys, func(key string, d fs.DirEntry) error {
		if _, ok := c.Layout.Sum(key); !ok || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil { // else it is gone
			used := info.ModTime().Unix()
			all = append(all, found{&entry{key: key, size: info.Size(), used: used, saved: used}, info.ModTime()})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.modified.UnixNano(), b.modified.UnixNano()) })
	c.mu.Lock()
	defer c.unlock()
	for _, f := range all {
		c.insert(f.entry)
		if f.size > c.Max {
			c.remove(f.entry)
		}
	}
	c.evict(c.stats.Bytes-c.Max, false)
	return err
}

// makeDir makes a directory. A link is refused: what it leads to is not the cache's.
func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("%s is no directory", dir), err)
	}
	return nil
}

// walk calls do for the names in dir that match the pattern. It follows no link below dir.
func walk(dir, pattern string, do func(name string, d fs.DirEntry) error) error {
	return walkIn(dir, "", strings.Split(pattern, "/"), do)
}

func walkIn(dir, prefix string, patterns []string, do func(name string, d fs.DirEntry) error) error {
	entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(prefix)))
	if err != nil {
		return err
	}
	for _, d := range entries {
		if ok, _ := path.Match(patterns[0], d.Name()); !ok {
			continue
		}
		name := prefix + d.Name()
		if len(patterns) == 1 {
			err = do(name, d)
		} else if d.IsDir() {
			err = walkIn(dir, name+"/", patterns[1:], do)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// List returns the files of a directory, each with the SHA-256 that its bytes must have. An absent directory has none. No
// process may have the directory open as a cache.
func List(dir string, l Layout) (map[string][sha256.Size]byte, error) {
	kept := make(map[string][sha256.Size]byte)
	err := walk(dir, l.Keys, func(key string, _ fs.DirEntry) error {
		if sum, ok := l.Sum(key); ok {
			kept[filepath.Join(dir, filepath.FromSlash(key))] = sum
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("disk cache: %w", err)
	}
	return kept, nil
}

// counted is how much a file of n bytes counts: one that is larger than Max does not push out the others.
func (c *index) counted(n int64) int64 {
	if n > c.Max {
		return 0
	}
	return n
}

// insert makes e the entry of its key, used last. mu is held.
func (c *index) insert(e *entry) {
	if old := c.entries[e.key]; old != nil {
		c.forget(old)
	}
	c.entries[e.key] = e
	e.at = c.recent.PushFront(e)
	c.stats.Bytes += c.counted(e.size)
}

// forget removes e, but not its file. mu is held.
func (c *index) forget(e *entry) {
	if e.at == nil {
		return
	}
	c.recent.Remove(e.at)
	e.at = nil
	delete(c.entries, e.key)
	c.stats.Bytes -= c.counted(e.size)
	c.endLinger(e)
}

// remove removes e and its file. Who has the file open goes on reading. mu is held.
func (c *index) remove(e *entry) {
	if e.at == nil {
		return
	}
	c.forget(e)
	if err := os.Remove(c.Path(e.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Log.Warn("disk cache: file cannot be removed", "err", err)
	}
}

// evict removes files of at least n bytes that are not in use, the least recently used first, and tells whether there were any.
// The lingering file above Max goes only for lack of space on the disk. mu is held.
func (c *index) evict(n int64, space bool) (found bool) {
	for at := c.recent.Back(); at != nil && n > 0; {
		e := at.Value.(*entry)
		at = at.Prev()
		if e.pins > 0 || e.size > c.Max && !space {
			continue
		}
		// To free the blocks of a large file takes long. That happens when the last descriptor is closed, in unlock.
		if f, err := openRegular(c.Path(e.key)); err == nil {
			c.evicted = append(c.evicted, f)
		}
		c.Log.Debug("disk cache: file is evicted", "file", c.Path(e.key), "size", e.size)
		c.remove(e)
		c.stats.Evictions++
		n -= e.size
		found = true
	}
	return found
}

// unlock unlocks mu after a call of evict.
func (c *index) unlock() {
	evicted := c.evicted
	c.evicted = nil
	c.mu.Unlock()
	for _, f := range evicted {
		f.Close()
	}
}

// pin returns the entry of a key, in use.
func (c *index) pin(key string) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	e := c.entries[key]
	if e == nil {
		return nil, fmt.Errorf("%s: %w", key, ErrAbsent)
	}
	c.recent.MoveToFront(e.at)
	e.used = time.Now().Unix()
	e.pins++
	c.endLinger(e)
	return e, nil
}

// unpin ends a use of e. The reader has the file open, or it is nil.
func (c *index) unpin(e *entry, file *os.File) {
	c.mu.Lock()
	defer c.unlock()
	if e.pins--; e.pins > 0 || e.at == nil {
		return
	}
	if e.size > c.Max {
		c.linger(e)
		return
	}
	if file != nil && e.used-e.saved >= int64(usePrecision/time.Second) {
		c.saveUse(e, file)
	}
	c.evict(c.stats.Bytes+c.stats.Growing-c.Max, false)
}

// saveUse sets the time of a verified file to that of its last use. Nobody reads the file, so that nobody takes this for a
// change. mu is held.
func (c *index) saveUse(e *entry, f *os.File) {
	if e.stamp.Changed(f) != "" {
		return
	}
	e.saved = e.used
	then := time.Unix(e.used, 0)
	if latest := time.Now().Add(-past); then.After(latest) {
		then = latest
	}
	if os.Chtimes(c.Path(e.key), then, then) == nil {
		if info, err := f.Stat(); err == nil && info.Size() == e.size {
			e.stamp, _ = filestamp.Of(info)
		}
	}
}

// linger keeps a file above Max for a while: one such file at a time. mu is held.
func (c *index) linger(e *entry) {
	if c.large != nil {
		c.remove(c.large)
	}
	if c.Linger == 0 || c.Max == 0 || c.closed {
		c.remove(e)
		return
	}
	c.large = e
	c.lingers = time.AfterFunc(c.Linger, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.large == e {
			c.remove(e)
		}
	})
}

func (c *index) endLinger(e *entry) {
	if c.large == e {
		c.lingers.Stop()
		c.large = nil
	}
}

// failed is the error that a caller gets.
func (c *index) failed(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.closed {
		return errClosed // the contexts of the callers have not ended
	}
	return err
}

// ownError hides the kinds of an error about the cache's own files that could be taken for an answer about the content.
func ownError(err error) error {
	for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, errors.ErrUnsupported} {
		if errors.Is(err, kind) {
			return fmt.Errorf("disk cache: %v", err)
		}
	}
	return fmt.Errorf("disk cache: %w", err)
}

func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// openRegular opens a file for reading that is nothing but a file: neither a link nor a pipe that would block.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
