package diskcache

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
)

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

// Path is the name of the file of a key.
func (c *Cache) Path(key string) string { return filepath.Join(c.Dir, filepath.FromSlash(key)) }

// load makes the directories, removes what is incomplete, and takes in the files, the one used last in front.
func (c *Cache) load() error {
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
	err := walk(c.Dir, c.Layout.Incomplete, func(_, file string, d fs.DirEntry) error {
		if !d.Type().IsRegular() {
			return nil
		}
		return os.Remove(file)
	})
	if err != nil {
		return err
	}
	type found struct {
		*entry
		modified time.Time
	}
	var all []found
	err = walk(c.Dir, c.Layout.Keys, func(key, _ string, d fs.DirEntry) error {
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

// walk calls do for the names in dir that match the pattern, with the name and the path. It follows no link below dir.
func walk(dir, pattern string, do func(name, file string, d fs.DirEntry) error) error {
	return walkIn(dir, "", strings.Split(pattern, "/"), do)
}

func walkIn(dir, prefix string, patterns []string, do func(name, file string, d fs.DirEntry) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range entries {
		if ok, _ := path.Match(patterns[0], d.Name()); !ok {
			continue
		}
		name, file := path.Join(prefix, d.Name()), filepath.Join(dir, d.Name())
		if len(patterns) == 1 {
			err = do(name, file, d)
		} else if d.IsDir() {
			err = walkIn(file, name, patterns[1:], do)
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
	err := walk(dir, l.Keys, func(key, file string, _ fs.DirEntry) error {
		if sum, ok := l.Sum(key); ok {
			kept[file] = sum
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("disk cache: %w", err)
	}
	return kept, nil
}

// counted is how much a file of n bytes counts: one that is larger than Max does not push out the others.
func (c *Cache) counted(n int64) int64 {
	if n > c.Max {
		return 0
	}
	return n
}

// insert makes e the entry of its key, used last. mu is held.
func (c *Cache) insert(e *entry) {
	if old := c.entries[e.key]; old != nil {
		c.forget(old)
	}
	c.entries[e.key] = e
	e.at = c.recent.PushFront(e)
	c.stats.Bytes += c.counted(e.size)
}

// forget removes e, but not its file. mu is held.
func (c *Cache) forget(e *entry) {
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
func (c *Cache) remove(e *entry) {
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
func (c *Cache) evict(n int64, space bool) (found bool) {
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
func (c *Cache) unlock() {
	evicted := c.evicted
	c.evicted = nil
	c.mu.Unlock()
	for _, f := range evicted {
		f.Close()
	}
}

// pin returns the entry of a key, in use.
func (c *Cache) pin(key string) (*entry, error) {
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

// unpin ends a use of e, by a reader that has the file open as f, or has not opened it.
func (c *Cache) unpin(e *entry, f *File) {
	c.mu.Lock()
	defer c.unlock()
	if e.pins--; e.pins > 0 || e.at == nil {
		return
	}
	if e.size > c.Max {
		c.linger(e)
		return
	}
	if f != nil && e.used-e.saved >= int64(usePrecision/time.Second) {
		c.saveUse(e, f.handle.file)
	}
	c.evict(c.stats.Bytes+c.stats.Growing-c.Max, false)
}

// saveUse sets the time of a verified file to that of its last use. Nobody reads the file, so that nobody takes this for a
// change. mu is held.
func (c *Cache) saveUse(e *entry, f *os.File) {
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
func (c *Cache) linger(e *entry) {
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

func (c *Cache) endLinger(e *entry) {
	if c.large == e {
		c.lingers.Stop()
		c.large = nil
	}
}
