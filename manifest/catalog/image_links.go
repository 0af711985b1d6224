package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/store"
)

// imagePlaces are the places where image files may be: below --images, and in the store. The end of a link decides. A link to
// another place may lead to a private file, so only definitions are read from there.
type imagePlaces struct {
	roots  []string // the arguments of --images
	stores []string // directories of stores whose paths are named /nix/store/…
}

// imagePlace is the place of an image file after all links are followed.
type imagePlace struct {
	file string // as the caller named it
	name string // the end of the link; for a path of a store its name /nix/store/…
	real string // name without a link in any directory; "" in the store
	root string // the directory that real must stay in when it is opened; "" outside of --images
}

func (p imagePlace) stored() bool  { return p.real == "" }
func (p imagePlace) outside() bool { return p.real != "" && p.root == "" }

// of finds the place of a file. A link to nothing is an error.
func (w *imagePlaces) of(file string) (imagePlace, error) {
	p := imagePlace{file: file}
	var err error
	if p.name, err = follow(file); err != nil {
		return p, err
	}
	if _, _, err := store.ParseAbs(p.name); err == nil {
		return p, nil
	}
	real, err := realPath(p.name)
	if err != nil {
		return p, err
	}
	for _, root := range w.roots {
		top, err := realPath(root)
		if err == nil && real == top {
			p.real, p.root = real, filepath.Dir(real)
			return p, nil
		}
		if _, ok := below(real, top); err == nil && ok {
			p.real, p.root = real, top
			return p, nil
		}
	}
	for _, dir := range append([]string{store.Dir}, w.stores...) {
		top, err := realPath(dir)
		if rest, ok := below(real, top); err == nil && ok {
			if _, _, err := store.ParseAbs(store.Dir + "/" + rest); err == nil {
				p.name = store.Dir + "/" + rest
				return p, nil
			}
		}
	}
	p.real = real
	return p, nil
}

func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// below returns the path of name relative to dir; ok is false if name is not below dir.
func below(name, dir string) (rest string, ok bool) {
	return strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// path returns the store path that has the file or the target of its link; "" if the file is not in the store.
func (w *imagePlaces) path(file string) store.Path {
	p, err := w.of(file)
	if err != nil || !p.stored() {
		return ""
	}
	path, _, _ := store.ParseAbs(p.name)
	return path
}

// leadsIntoStore reports whether a file is in the store, or is a link into it. Every process finds the path by its name, and the
// path may be in a remote store.
func (w *imagePlaces) leadsIntoStore(file string) bool { return w.path(file) != "" }

// open opens the file, which is not in the store. It checks before and after opening that the file is a regular file, because
// another process may replace it in between. Opening a pipe may block, and opening a device may change its state.
func (p imagePlace) open() (*os.File, fs.FileInfo, error) {
	dir := cmp.Or(p.root, filepath.Dir(p.real))
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	name, _ := below(p.real, dir)
	info, err := root.Lstat(name)
	if err == nil {
		err = p.allowed(info)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = p.allowed(info)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// allowed returns an error if the file may not be read.
func (p imagePlace) allowed(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	if owner := ownerOf(info); p.outside() && owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("the file of another user: %w", fs.ErrPermission)
	}
	return nil
}

// read returns the content of a small file that is not in the store. Outside of --images it returns only a definition.
func (p imagePlace) read() ([]byte, error) {
	b, err := p.readAny()
	if err == nil && p.outside() {
		if _, broken := imagefile.Parse(p.file, b); broken != nil {
			err = errors.New("it is no definition: nixreg check says why, if it is given that file")
		}
	}
	if err != nil && p.outside() {
		return nil, &outsideError{p.file, p.real, err}
	}
	return b, err
}

func (p imagePlace) readAny() ([]byte, error) {
	f, info, err := p.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxConf {
		return nil, fmt.Errorf("%d bytes: too large for a definition, a conf.json or a stream-<name> script: %w", info.Size(), errors.ErrUnsupported)
	}
	return io.ReadAll(io.LimitReader(f, maxConf))
}

// outsideError is an error about a link out of --images. Its text has no content of the target. Its public text has neither the
// name of the target nor the directory of the link.
type outsideError struct {
	link, target string
	err          error
}

func (e *outsideError) Error() string {
	return fmt.Sprintf("%s: the link leads out of --images, to %s: from there definitions alone are taken: %v", e.link, e.target, e.err)
}

func (e *outsideError) Public() string {
	return filepath.Base(e.link) + ": the link leads out of --images, to what is not taken from there"
}

func (e *outsideError) Is(target error) bool { return target == fs.ErrInvalid }

// ownerOf returns the user ID of a file's owner.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// Bounds of an --images directory.
const (
	maxImageFiles = 10_000
	maxImageDepth = 16
	maxImageDirs  = 2_000 // folders; a folder that two links lead to counts twice
	maxImageLinks = 40
	maxConf       = 16 << 20 // bytes of a conf.json or script
)

// imageSuffixes are the suffixes that a repository name leaves out.
var imageSuffixes = []string{".json", ".yaml", ".yml", ".tar", ".tar.gz", ".tar.zst"}

// follow follows a link, and stops at a path of the store, because that path may be in a remote store. The result is not a link,
// unless it is in the store.
func follow(file string) (string, error) {
	for range maxImageLinks {
		if _, _, err := store.ParseAbs(file); err == nil {
			return file, nil
		}
		info, err := os.Lstat(file)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return file, err
		}
		target, err := os.Readlink(file)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			dir := filepath.Dir(file) // dir may be a link: then ".." leads to the parent of its target
			if real, err := filepath.EvalSymlinks(dir); err == nil {
				dir = real
			}
			target = filepath.Join(dir, target)
		}
		file = filepath.Clean(target)
	}
	return "", fmt.Errorf("too many symbolic links: %w", fs.ErrInvalid)
}
