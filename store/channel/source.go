package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/andybalholm/brotli"
	"github.com/mikelolasagasti/xz"
)

// The files of a channel.
const (
	pathsFile    = "store-paths.xz"
	packagesFile = "packages.json.br"
)

const (
	maxStored   = 256 << 20 // bytes of a file
	maxUnpacked = 2 << 30
	// maxDictionary bounds the memory of xz; xz -9 needs 64 MiB.
	maxDictionary = 64 << 20
)

// Fetcher gets the files of one channel. Safe for concurrent use.
type Fetcher interface {
	// GetIf gets a file of at most limit bytes as it is stored: it undoes no Content-Encoding. name is "store-paths.xz" or
	// "packages.json.br", or the URL of such a file below one that the Fetcher has returned in an [Answer]. If the file has the
	// etag, the Answer may be NotModified. An absent file gives an error matching [fs.ErrNotExist]. A forbidden one, which may be
	// absent, gives one that matches [fs.ErrPermission] and not store.ErrUnavailable. The caller closes Body.
	GetIf(ctx context.Context, name, etag string, limit int64) (Answer, error)
}

// Answer is a file, or says that the file still has the etag.
type Answer struct {
	Body        io.ReadCloser // reads fail when the context ends; nil if NotModified
	NotModified bool
	ETag        string // opaque, different for each version of the file; "" if the server has none
	URL         string // of the file after a redirect; "" without one
}

// same reports whether a is the file with this ETag. Some servers send the file all the same.
func (a *Answer) same(etag string) bool {
	return a.NotModified || etag != "" && a.ETag == etag
}

func (a *Answer) close() {
	if a.Body != nil {
		a.Body.Close()
	}
}

// beside returns the name for GetIf of another file in the folder of a.
func (a *Answer) beside(name string) (string, error) {
	if a.URL == "" {
		return name, nil
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return "", errors.New("the server redirects to something that is no URL")
	}
	return u.ResolveReference(&url.URL{Path: name}).String(), nil
}

// folder is the Fetcher of a folder on this machine. The time, size and inode of a file are its ETag.
type folder string

func (f folder) GetIf(ctx context.Context, name, etag string, limit int64) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	file := filepath.Join(string(f), name)
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for someone to write
		err = &fs.PathError{Op: "open", Path: file, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return Answer{}, err
	}
	r, err := os.Open(file)
	if err != nil {
		return Answer{}, err
	}
	if info, err = r.Stat(); err != nil {
		r.Close()
		return Answer{}, err
	}
	inode := uint64(0) // that of a file which is renamed into the place of another one differs
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = s.Ino
	}
	mark := fmt.Sprintf("%q", fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size(), " ", inode))
	if mark == etag {
		r.Close()
		return Answer{NotModified: true, ETag: mark}, nil
	}
	return Answer{Body: contextFile{r, ctx}, ETag: mark}, nil
}

// contextFile is a file whose reads fail when ctx ends.
type contextFile struct {
	*os.File
	ctx context.Context
}

func (f contextFile) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

// unpack decompresses r, by the extension of name.
func unpack(name string, r io.Reader) (io.Reader, error) {
	r = &bounded{r, maxStored}
	switch path.Ext(name) {
	case ".xz":
		x, err := xz.NewReader(r, maxDictionary)
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		return &bounded{x, maxUnpacked}, nil
	case ".br":
		return &bounded{brotli.NewReader(r), maxUnpacked}, nil
	}
	return nil, errors.ErrUnsupported
}

// readBody reads a file with read, and closes it. A panic of the decompressor is an error.
func readBody(name string, a Answer, read func(io.Reader) error) (err error) {
	defer a.close()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: decompressor panics: %v: %w", name, p, fs.ErrInvalid)
		}
	}()
	if a.Body == nil {
		return fmt.Errorf("%s: the server says that the file has not changed, but nobody asked that", name)
	}
	r, err := unpack(name, a.Body)
	if err == nil {
		err = read(r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// single returns the folder of a location, and whether the location names the list of paths in it.
func single(location string) (folder string, ok bool) {
	before, query, asked := strings.Cut(location, "?")
	if strings.HasPrefix(location, "/") { // in a path, ? has no meaning
		before, query, asked = location, "", false
	}
	before, ok = strings.CutSuffix(before, "/"+pathsFile)
	switch {
	case !ok:
		return location, false
	case before == "":
		return "/", true
	case asked:
		return before + "?" + query, true
	}
	return before, true
}
