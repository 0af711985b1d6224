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

// settled is how old a directory's time must be to tell it from any later one: file systems' clocks are coarse.
const settled = 2 * time.Second

// files reads the narinfo files of a cache and remembers what they say, each as long as its file stays as it is.
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

func newFiles(fsys fs.FS, t *trust) *files {
	return &files{fs: fsys, trust: t, parsed: lru.Cache[string, parsedFile]{Max: maxParsed}}
}

// narinfo implements index. Trust is asked once for each file.
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

// forget implements index. There is nothing to forget: a file is looked at each time.
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

// state implements index. It changes when a narinfo file comes or goes. The directory is read only when its time is new.
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
