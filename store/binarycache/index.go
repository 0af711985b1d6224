package binarycache

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"nixreg/store"
)

const (
	narinfoSuffix = ".narinfo"

	// maxParsed bounds the narinfo files that are remembered, by the bytes of their text.
	maxParsed = 64 << 20

	// settled is how old a directory's time must be to tell it from any later one: file systems' clocks are coarse.
	settled = 2 * time.Second
)

// index reads the narinfo files of a cache and remembers what they say, each as long as its file stays as it is.
type index struct {
	fs fs.FS

	mu     sync.Mutex
	parsed map[string]parsedFile // by hash part
	size   int64                 // bytes of their text
	listed listing
}

type parsedFile struct {
	info   *narinfo
	signed bool
	file   stamp
}

// stamp tells a file from a later one of the same name.
type stamp struct {
	size int64
	time time.Time
}

type listing struct {
	time  time.Time // of the directory
	state string
	final bool // no other state can have this time
}

func newIndex(fsys fs.FS) *index { return &index{fs: fsys, parsed: make(map[string]parsedFile)} }

// narinfo returns what the file of a hash part says. signed is asked once for each file; where it says no, the error
// matches fs.ErrNotExist.
func (x *index) narinfo(hash string, signed func(*narinfo) bool) (*narinfo, error) {
	name := hash + narinfoSuffix
	st, err := fs.Stat(x.fs, name)
	if err != nil {
		return nil, err
	}
	f, ok := x.remembered(hash, stamp{st.Size(), st.ModTime()})
	if !ok {
		if f, err = x.read(name); err != nil {
			return nil, err
		}
		if got := f.info.object.Path.Hash(); got != hash {
			return nil, corrupt("%s: is about another path, %s", name, f.info.object.Path)
		}
		f.signed = signed(f.info)
		x.remember(hash, f)
	}
	if !f.signed {
		return nil, fmt.Errorf("%s is not signed by a trusted key: %w", f.info.object.Path, fs.ErrNotExist)
	}
	return f.info, nil
}

func (x *index) read(name string) (f parsedFile, err error) {
	text, st, err := readSmall(x.fs, name)
	if err != nil {
		return f, err
	}
	f.file = stamp{st.Size(), st.ModTime()}
	if f.info, err = parseNarinfo(text); err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (x *index) remembered(hash string, now stamp) (parsedFile, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, ok := x.parsed[hash]
	return f, ok && f.file.size == now.size && f.file.time.Equal(now.time)
}

func (x *index) remember(hash string, f parsedFile) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forget(hash)
	for old := range x.parsed { // any one: reading it again is cheap
		if x.size+f.file.size <= maxParsed {
			break
		}
		x.forget(old)
	}
	x.parsed[hash] = f
	x.size += f.file.size
}

func (x *index) forget(hash string) {
	x.size -= x.parsed[hash].file.size
	delete(x.parsed, hash)
}

// hashes returns the hash parts that have a narinfo file, in order.
func (x *index) hashes() ([]string, error) {
	entries, err := fs.ReadDir(x.fs, ".")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if hash, ok := strings.CutSuffix(e.Name(), narinfoSuffix); ok && store.IsHash(hash) {
			out = append(out, hash)
		}
	}
	return out, nil
}

// state changes when a narinfo file comes or goes. The directory is read only when its time is new.
func (x *index) state() (string, error) {
	st, err := fs.Stat(x.fs, ".")
	if err != nil {
		return "", err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.listed.final && x.listed.time.Equal(st.ModTime()) {
		return x.listed.state, nil
	}
	old := time.Since(st.ModTime()) > settled
	hashes, err := x.hashes()
	if err != nil {
		return "", err
	}
	h := fnv.New64a()
	for _, hash := range hashes {
		io.WriteString(h, hash)
	}
	x.listed = listing{
		time:  st.ModTime(),
		state: fmt.Sprintf("%d-%d-%x", st.ModTime().UnixNano(), len(hashes), h.Sum64()),
		final: old,
	}
	return x.listed.state, nil
}

// readSmall returns the text of a file of at most maxNarinfo bytes, and what kind of file it read.
func readSmall(fsys fs.FS, name string) (string, fs.FileInfo, error) {
	f, err := openRegular(fsys, name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNarinfo+1))
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxNarinfo {
		return "", nil, corrupt("%s: larger than %d bytes", name, maxNarinfo)
	}
	return string(text), st, nil
}

// openRegular opens a regular file only: to open a pipe would wait for its other end.
func openRegular(fsys fs.FS, name string) (fs.File, error) {
	st, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return fsys.Open(name)
}
