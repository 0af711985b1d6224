package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

const (
	// lookAgain is how long a listing of the image files is used. A file that is added to a folder or removed from it ends that
	// time early.
	lookAgain = time.Second
	// folderTick is the resolution of the times of folders. A folder that changed less than folderTick before a listing may have
	// changed again after it, with the same time.
	folderTick = 20 * time.Millisecond
	// maxFolders bounds the folders whose times are compared at each request. A file that is added to another folder is seen up
	// to a second later.
	maxFolders = 64
)

// imageList is one listing of the image files.
type imageList struct {
	at      time.Time             // when the listing began
	files   map[string]imageEntry // by repository
	folders map[string]time.Time  // the time of the last change of each folder
	state   func() string         // a hash over all files, computed once
}

// holds reports whether no folder has changed since the listing.
func (l *imageList) holds() bool {
	for folder, changed := range l.folders {
		now, err := filestamp.Stat(folder)
		if err != nil || now.Mtime != changed.UnixNano() || changed.After(l.at.Add(-folderTick)) {
			return false
		}
	}
	return true
}

// files returns the image files by repository. If two files have the same repository name, the file of the first root counts,
// and in one root the first by name. A file that cannot be read is left out, because it must not hide the other images or the
// packages.
func (m *images) files(ctx context.Context) (map[string]imageEntry, error) {
	l, err := m.look(ctx, false)
	if err != nil {
		return nil, err
	}
	return l.files, nil
}

// look returns the last listing. It makes a new one if the last one is too old, or if anew is set. Only one goroutine makes a
// listing at a time; the others wait for its result.
func (m *images) look(ctx context.Context, anew bool) (*imageList, error) {
	if l := m.recent(); l != nil && !anew {
		return l, nil
	}
	l, err := m.listOnce(ctx, anew)
	if err != nil {
		return nil, err
	}
	m.audit(ctx)
	return l, nil
}

func (m *images) listOnce(ctx context.Context, anew bool) (*imageList, error) {
	select {
	case m.listing <- struct{}{}:
		defer func() { <-m.listing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := m.recent(); l != nil && !anew {
		return l, nil
	}
	l := &imageList{at: time.Now(), folders: make(map[string]time.Time)}
	l.files = m.list(ctx, l.folders)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.state = sync.OnceValue(func() string {
		sum := sha256.Sum256([]byte(stateOf(l.files)))
		return hex.EncodeToString(sum[:16])
	})
	m.last.Store(l)
	return l, nil
}

// recent returns the last listing, or nil if that is too old.
func (m *images) recent() *imageList {
	if l := m.last.Load(); l != nil && time.Since(l.at) < lookAgain && l.holds() {
		return l
	}
	return nil
}

// list lists all image files, and stores the time of each folder's last change in folders.
func (m *images) list(ctx context.Context, folders map[string]time.Time) map[string]imageEntry {
	found := make(map[string]imageEntry)
	add := func(name string, e imageEntry) {
		switch {
		case name == "" || strings.HasSuffix(name, "/"):
		case found[name].file != "":
			m.warn("image file is hidden by another of the same name", "repository", name, "file", e.file, "by", found[name].file)
		default:
			found[name] = e
		}
	}
	there := make(map[string]bool)
	place := func(name, file string, named bool) bool {
		if len(found) >= maxImageFiles {
			return false
		}
		there[file] = true
		f := m.definitions.of(ctx, file)
		switch {
		case f.odd && !named:
			m.leaveOut(file, "it is neither a definition (called .yaml, .yml, .json, or without a dot), a conf.json or script, nor an image")
		case f.names == nil:
			add(name, imageEntry{file: file})
		}
		for name, tags := range f.names {
			add(name, imageEntry{file, tags, f.mark})
		}
		return true
	}
	for _, root := range m.roots {
		if root.directory {
			s := newScanner(m, func(name, file string) bool { return place(name, file, false) })
			s.folders = folders
			s.directory(ctx, root.path, "")
		} else {
			place(imageRepository(filepath.Base(root.path)), root.path, true)
		}
	}
	if ctx.Err() == nil {
		m.definitions.retain(there)
	}
	return found
}

// warn logs each warning only once.
func (m *images) warn(text string, about ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := fmt.Sprintln(append(about, text)...)
	if m.warned[key] || len(m.warned) >= maxImageFiles {
		return
	}
	m.warned[key] = true
	m.log.Warn(text, about...)
}

func (m *images) leaveOut(file, reason string) {
	m.warn("file is left out of the images", "file", file, "reason", reason)
}

// scanner walks a directory of image files.
type scanner struct {
	images *images
	add    func(name, file string) bool
	above  []fs.FileInfo // the parent directories; a link back to one of them is not followed
	left   int           // how many more directories it may open
	// folders, if not nil, gets the first maxFolders directories, with the times of their last change.
	folders map[string]time.Time
}

func newScanner(m *images, add func(name, file string) bool) *scanner {
	return &scanner{images: m, add: add, left: maxImageDirs}
}

// scan calls add for each file below dir, with its repository, until add returns false.
func (m *images) scan(ctx context.Context, dir string, add func(name, file string) bool) {
	newScanner(m, add).directory(ctx, dir, "")
}

// directory walks one directory, and reports whether the walk goes on.
func (s *scanner) directory(ctx context.Context, dir, prefix string) bool {
	if s.left--; s.left < 0 || len(s.above) > maxImageDepth {
		s.images.warn("images are left out: the folder is too deep, or one too many", "directory", dir)
		return s.left >= 0
	}
	here, err := os.Stat(dir)
	if err == nil && slices.ContainsFunc(s.above, func(fi fs.FileInfo) bool { return os.SameFile(fi, here) }) {
		return true
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = os.ReadDir(dir) // sorted by name
	}
	if err != nil {
		s.images.log.Warn("images cannot be listed", "directory", dir, "error", err)
		return true
	}
	if s.folders != nil && len(s.folders) < maxFolders {
		s.folders[dir] = here.ModTime()
	}
	s.above = append(s.above, here)
	defer func() { s.above = s.above[:len(s.above)-1] }()
	for _, e := range entries {
		if ctx.Err() != nil {
			return false
		}
		if !leftover(e.Name()) && !s.entry(ctx, prefix, filepath.Join(dir, e.Name()), e.Type()) {
			return false
		}
	}
	return true
}

func (s *scanner) entry(ctx context.Context, prefix, file string, kind fs.FileMode) bool {
	if kind&fs.ModeSymlink != 0 {
		target, reason := s.images.linked(file)
		if reason != "" {
			s.images.leaveOut(file, reason)
			return true
		}
		kind = target
	}
	switch {
	case kind.IsDir() && !finished.IsLayoutDirectory(file):
		name := packages.RepositoryName(filepath.Base(file))
		return name == "" || s.directory(ctx, file, prefix+name+"/")
	case kind&^(fs.ModeDir|fs.ModeSymlink) != 0:
		s.images.leaveOut(file, "it is no regular file")
		return true
	}
	if !s.add(prefix+imageRepository(filepath.Base(file)), file) {
		s.images.log.Warn("images are left out", "after", file, "most", maxImageFiles)
		return false
	}
	return true
}

// linked returns the kind of a link's target, or the reason why the link is left out. For a link into the store it returns the
// kind of a link, because the target may be in a remote store.
func (m *images) linked(file string) (kind fs.FileMode, reason string) {
	p, err := m.places.of(file)
	if err == nil && p.stored() {
		return fs.ModeSymlink, ""
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(p.real)
	}
	switch {
	case err != nil:
		return 0, "the link leads nowhere"
	case p.outside() && info.IsDir():
		return 0, "the link leads out of --images, to a folder: give that to --images, too"
	case p.outside() && !info.Mode().IsRegular():
		return 0, "the link leads out of --images, to what is no regular file"
	}
	return info.Mode().Type(), ""
}

// leftovers are the suffixes of files that editors and patch leave behind.
var leftovers = []string{"~", ".orig", ".rej", ".swp", ".bak", ".tmp"}

// leftover reports whether the name of a file says that it is not meant as an image.
func leftover(name string) bool {
	return name[0] == '.' || name[0] == '#' || slices.ContainsFunc(leftovers, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// imageRepository returns the repository for a file name, which may be the name of a store path.
func imageRepository(base string) string {
	if p, err := store.ParsePath(base); err == nil {
		base = p.Name()
	}
	for _, suffix := range imageSuffixes {
		if cut, ok := strings.CutSuffix(base, suffix); ok {
			base = cut
			break
		}
	}
	return packages.RepositoryName(base)
}

// Settled returns whether the packages are settled, because contents may be packages.
func (m *images) Settled(ctx context.Context) bool { return m.resolver.builds.Settled(ctx) }

func (m *images) State(ctx context.Context) (string, error) {
	l, err := m.look(ctx, false)
	if err != nil {
		return "", err
	}
	return l.state(), nil
}

func stateOf(files map[string]imageEntry) string {
	var b strings.Builder
	for _, name := range sortedKeys(files) {
		e := files[name]
		if e.tags != nil {
			fmt.Fprintf(&b, "%s %s %s\n", name, e.file, e.mark)
			continue
		}
		info, err := os.Stat(e.file)
		if err != nil { // the link may lead to a path of a remote store
			info, err = os.Lstat(e.file)
		}
		if err == nil {
			target, _ := os.Readlink(e.file)
			fmt.Fprintf(&b, "%s %s %s\n", name, target, describeFile(info))
		}
	}
	return b.String()
}
