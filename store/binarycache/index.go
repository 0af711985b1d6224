package binarycache

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

const (
	narinfoSuffix = ".narinfo"

	// maxParsed bounds the narinfo files in memory, in bytes.
	maxParsed = 64 << 20
)

// index reads the narinfo files of a cache and keeps them in memory.
type index interface {
	// narinfo returns the narinfo of a hash part. If its path is not valid, the error matches fs.ErrNotExist.
	narinfo(ctx context.Context, hash string) (*narinfo, error)
	// forget is called when the archive of a narinfo is absent or wrong.
	forget(ctx context.Context, hash string)
	// hashes returns the hash parts that have a narinfo file, in order, or an error matching errors.ErrUnsupported.
	hashes() ([]string, error)
	// state is the State of store.Store.
	state(ctx context.Context) (string, error)
}

// parseNarinfoOf parses the narinfo file of a hash part in a cache.
func parseNarinfoOf(hash, text, cache string) (*narinfo, error) {
	name := hash + narinfoSuffix
	n, err := parseNarinfo(text, cache)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n.object.Path.Hash() != hash {
		return nil, corrupt("%s: is about another path, %s", name, n.object.Path)
	}
	return n, nil
}

// settled is the age from which a directory's time differs from any later one: clocks of file systems are coarse.
const settled = 2 * time.Second

// files is the index of a cache on disk. A narinfo is kept in memory until its file changes.
type files struct {
	fs    fs.FS
	trust *trust

	parsed lru.Cache[string, parsedFile] // by hash part

	mu     sync.Mutex
	listed listing
}

type parsedFile struct {
	info  *narinfo
	valid error // of trust.check
	file  stamp
}

// stamp differs between versions of a file.
type stamp struct {
	size int64
	time time.Time
}

type listing struct {
	time  time.Time // of the directory
	state string
	final bool // the time is settled
}

func newFiles(fsys fs.FS, t *trust) *files {
	return &files{fs: fsys, trust: t, parsed: lru.Cache[string, parsedFile]{Max: maxParsed}}
}

// narinfo implements index. It checks the signatures of a file once.
func (x *files) narinfo(ctx context.Context, hash string) (*narinfo, error) {
	name := hash + narinfoSuffix
	st, err := fs.Stat(x.fs, name)
	if err != nil {
		return nil, ofFile(err)
	}
	f, ok := x.parsed.Get(hash)
	if !ok || f.file.size != st.Size() || !f.file.time.Equal(st.ModTime()) {
		if f, err = x.read(hash); err != nil {
			return nil, ofFile(err)
		}
		f.valid = x.trust.check(f.info)
		x.parsed.Put(hash, f, 2*f.file.size)
	}
	if f.valid != nil {
		return nil, f.valid
	}
	return f.info, nil
}

func (x *files) read(hash string) (f parsedFile, err error) {
	text, st, err := readSmall(x.fs, hash+narinfoSuffix)
	if err != nil {
		return f, err
	}
	f.file = stamp{st.Size(), st.ModTime()}
	f.info, err = parseNarinfoOf(hash, text, "")
	return f, err
}

// forget implements index. It does nothing, because narinfo looks at the file each time.
func (x *files) forget(context.Context, string) {}

// hashes implements index.
func (x *files) hashes() ([]string, error) {
	entries, err := fs.ReadDir(x.fs, ".")
	if err != nil {
		return nil, ofFile(err)
	}
	var out []string
	for _, e := range entries {
		if hash, ok := strings.CutSuffix(e.Name(), narinfoSuffix); ok && store.IsHash(hash) {
			out = append(out, hash)
		}
	}
	return out, nil
}

// state implements index. It changes when a narinfo file is added or removed. The directory is read only when its time has changed.
func (x *files) state(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	st, err := fs.Stat(x.fs, ".")
	if err != nil {
		return "", ofFile(err)
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
