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

// imagePlaces are where image files may lie: below --images, and in the store. A link is judged by where it ends. One that
// ends elsewhere may be meant for a file that nobody is to see, so no more than definitions is taken from there.
type imagePlaces struct {
	roots  []string // what --images names
	stores []string // directories of stores whose paths are called otherwise: /nix/store/…
}

// imagePlace is where an image file is in the end.
type imagePlace struct {
	file string // as it was asked for
	name string // no link; of what is in the store, as the store calls it
	real string // the same without any link on the way; "" in the store
	root string // the directory of real that it lies in whatever happens; "" outside
}

func (p imagePlace) stored() bool  { return p.real == "" }
func (p imagePlace) outside() bool { return p.real != "" && p.root == "" }

// of finds where a file is. A link that leads nowhere is an error.
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

// below returns what leads from dir to name, which lies in it.
func below(name, dir string) (rest string, ok bool) {
	return strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// path is the store path that a file is in, or that it is a link into; "" if there is none.
func (w *imagePlaces) path(file string) store.Path {
	p, err := w.of(file)
	if err != nil || !p.stored() {
		return ""
	}
	path, _, _ := store.ParseAbs(p.name)
	return path
}

// leadsIntoStore reports whether a file is a link to one of the store, which every process knows and which may be far away.
func (w *imagePlaces) leadsIntoStore(file string) bool { return w.path(file) != "" }

// open opens the file, which is not in the store. It is regular when it is opened, whatever it was before: to open a pipe or
// a device could wait, or do something.
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

// allowed reports what forbids to read a file.
func (p imagePlace) allowed(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	if owner := ownerOf(info); p.outside() && owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("the file of another user: %w", fs.ErrPermission)
	}
	return nil
}

// read returns what a small file holds that is not in the store. From outside that is a definition, or nothing.
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

// outsideError is about a link out of --images. Nothing of what it leads to is in its text, and no name in the public one.
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

// ownerOf returns the user that a file belongs to.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// Bounds of an --images directory.
const (
	maxImageFiles = 10_000
	maxImageDepth = 16
	maxImageDirs  = 2_000 // folders; one that links lead to twice counts twice
	maxImageLinks = 40
	maxConf       = 16 << 20 // bytes of a conf.json or script
)

// imageSuffixes are dropped from a file's name.
var imageSuffixes = []string{".json", ".yaml", ".yml", ".tar", ".tar.gz", ".tar.zst"}

// follow goes where a link leads that may lead into the store, whose files may lie elsewhere: it stops there. The last
// file is no link.
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
			dir := filepath.Dir(file) // ".." leads out of where dir really is
			if real, err := filepath.EvalSymlinks(dir); err == nil {
				dir = real
			}
			target = filepath.Join(dir, target)
		}
		file = filepath.Clean(target)
	}
	return "", fmt.Errorf("too many symbolic links: %w", fs.ErrInvalid)
}
