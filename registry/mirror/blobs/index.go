package blobs

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// touchEvery is how exactly a file's time tells when the blob was last used.
const touchEvery = time.Minute

// entry is a blob that is kept, in a ring of all of them.
type entry struct {
	key        key
	size       int64
	seen       *proof // nil if this process has not looked
	used       int64  // the file's time, seconds since 1970
	prev, next *entry
}

func (e *entry) verified() bool { return e.seen != nil }

// index knows what is kept. What it says and the files go together: the Cache's lock guards both.
type index struct {
	dir string
	max int64
	log *slog.Logger
	now func() time.Time

	openFile func(path string) (*os.File, fs.FileInfo, error)

	kept    map[key]*entry
	ring    entry // next is the one used last, prev the one that goes first
	size    int64 // bytes of kept
	growing int64 // bytes that have arrived and are to be kept
	evicted int   // files so far
}

func (x *index) path(k key) string {
	name := k.String()[len("sha256:"):]
	return filepath.Join(x.dir, completeDir, name[:2], name)
}

// load makes the directories, removes what is incomplete and learns what is complete, the one used last in front. It names
// the files that are too many.
func (x *index) load() (gone []string, err error) {
	x.ring.prev, x.ring.next = &x.ring, &x.ring
	for _, name := range []string{completeDir, incomingDir} {
		dir := filepath.Join(x.dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() { // what a link leads to is someone else's
			return nil, errors.Join(fmt.Errorf("%s is no directory", dir), err)
		}
	}
	if err := x.sweep(); err != nil {
		return nil, err
	}
	return x.scan()
}

func (x *index) sweep() error {
	incoming := filepath.Join(x.dir, incomingDir)
	files, err := os.ReadDir(incoming)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() || !strings.HasPrefix(f.Name(), tempPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(incoming, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// found is an entry with the exact time of its file.
type found struct {
	*entry
	modified int64
}

func (x *index) scan() (gone []string, err error) {
	shards, err := os.ReadDir(filepath.Join(x.dir, completeDir))
	if err != nil {
		return nil, err
	}
	var all []found
	for _, s := range shards {
		if !s.IsDir() || len(s.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(x.dir, completeDir, s.Name()))
		if err != nil {
			return nil, err
		}
		all = appendFound(all, s.Name(), files)
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.modified, b.modified) })
	for _, f := range all {
		x.add(f.entry)
	}
	return x.evict(x.max), nil
}

func appendFound(all []found, shard string, files []fs.DirEntry) []found {
	for _, f := range files {
		k, ok := keyOf(f.Name())
		if !ok || !strings.HasPrefix(f.Name(), shard) {
			continue
		}
		if fi, err := f.Info(); err == nil && fi.Mode().IsRegular() {
			e := &entry{key: k, size: fi.Size(), used: fi.ModTime().Unix()}
			all = append(all, found{e, fi.ModTime().UnixNano()})
		}
	}
	return all
}

// Kept lists the files of a cache's directory, each with the SHA-256 that its bytes should have. An absent directory has
// none. It is for those who look while no process has the cache open.
func Kept(dir string) (map[string][sha256.Size]byte, error) {
	kept := make(map[string][sha256.Size]byte)
	root := filepath.Join(dir, completeDir)
	shards, err := os.ReadDir(root)
	for _, s := range shards {
		files, failed := os.ReadDir(filepath.Join(root, s.Name()))
		if s.IsDir() {
			err = errors.Join(err, failed)
		}
		for _, f := range files {
			if k, ok := keyOf(f.Name()); ok && len(s.Name()) == 2 && strings.HasPrefix(f.Name(), s.Name()) {
				kept[filepath.Join(root, s.Name(), f.Name())] = k
			}
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	return kept, nil
}

// add makes e the one used last.
func (x *index) add(e *entry) {
	if old := x.kept[e.key]; old != nil {
		x.forget(old)
	}
	x.kept[e.key] = e
	x.size += e.size
	x.push(e)
}

func (x *index) push(e *entry) {
	e.prev, e.next = &x.ring, x.ring.next
	e.prev.next, e.next.prev = e, e
}

func (x *index) unlink(e *entry) { e.prev.next, e.next.prev = e.next, e.prev }

func (x *index) forget(e *entry) {
	x.unlink(e)
	delete(x.kept, e.key)
	x.size -= e.size
}

// remove forgets e with its file. Who reads it goes on reading.
func (x *index) remove(e *entry) {
	x.forget(e)
	if err := os.Remove(x.path(e.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.log.Warn("blob is not removed", "digest", e.key, "err", err)
	}
}

// evict takes the blobs used least recently away until no more than so many bytes are kept and growing, and names their
// files, which the caller removes without the lock: that may take long. They have no blob's name any more.
func (x *index) evict(most int64) (gone []string) {
	for x.size+x.growing > most && len(x.kept) > 0 {
		e := x.ring.prev
		x.log.Debug("blob goes for lack of space", "digest", e.key, "size", e.size)
		x.evicted++
		path := filepath.Join(x.dir, incomingDir, fmt.Sprintf("%sgone-%d", tempPrefix, x.evicted)) // the next Open removes it
		if err := os.Rename(x.path(e.key), path); err != nil {
			x.remove(e)
			continue
		}
		if fi, err := os.Lstat(path); err == nil && e.verified() {
			e.seen.state.Ctime = stampOf(fi).Ctime // who reads it goes on reading
		}
		x.forget(e)
		gone = append(gone, path)
	}
	return gone
}

// open opens the file of e. If it is gone, or cannot be what e says, the blob is kept no longer, and there is none. That
// it cannot be opened now is an error, and no reason to lose it. A file that has changed since its bytes were right is
// not verified any more.
func (x *index) open(e *entry) (*os.File, error) {
	f, fi, err := x.openFile(x.path(e.key))
	if err == nil && fi.Size() != e.size {
		f.Close()
		err = fmt.Errorf("%d bytes in place of %d", fi.Size(), e.size)
	}
	if err != nil {
		if !x.lost(e) {
			return nil, err
		}
		x.log.Warn("blob is lost", "digest", e.key, "err", err)
		x.remove(e)
		return nil, nil
	}
	if e.verified() && e.seen.state != stampOf(fi) {
		x.log.Warn("blob has changed on disk", "digest", e.key)
		e.seen = nil
	}
	return f, nil
}

// lost tells whether the file of e is gone, or cannot be what e says. It takes no descriptor to tell.
func (x *index) lost(e *entry) bool {
	fi, err := os.Lstat(x.path(e.key))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	}
	return !fi.Mode().IsRegular() || fi.Size() != e.size
}

// use makes e, which is verified and open as f, the one used last. The file's time tells the next process.
func (x *index) use(e *entry, f *os.File) {
	x.unlink(e)
	x.push(e)
	now := x.now()
	if now.Unix()-e.used < int64(touchEvery/time.Second) {
		return
	}
	e.used = now.Unix()
	_ = os.Chtimes(x.path(e.key), now, now) // changes the stamp
	if fi, err := f.Stat(); err == nil && fi.Size() == e.size {
		e.seen.state = stampOf(fi)
	}
}

// keep gives the complete and verified file temp, open as f, its name in the place of a blob.
func (x *index) keep(k key, size int64, f *os.File) (*entry, error) {
	path := x.path(k)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, ownError(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, ownError(err)
	}
	now := x.now()
	_ = os.Chtimes(path, now, now)
	e := &entry{key: k, size: size, used: now.Unix()}
	if fi, err := f.Stat(); err == nil {
		e.seen = &proof{stampOf(fi)} // after the rename, which changes it
	}
	x.add(e)
	return e, nil
}
