package layer

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// maxLinks bounds the entries of a symlink tree, which is kept in memory.
const maxLinks = 500_000

// skippedDirs are the directories of version control systems that lndir leaves out.
var skippedDirs = []string{"BitKeeper", "CVS", "CVS.adm", ".git", ".hg", "RCS", "SCCS", ".svn"}

type linkEntry struct {
	name   string // relative to the image's root; "" is the root
	target string // symbolic links
	dir    bool
}

// SymlinkTar returns the bytes of a Symlinks layer: the tree that `lndir -silent P out` makes for each P of contents in order,
// as GNU tar writes it. Only names and link targets are read. Of entries with the same name the first one counts; directories
// are merged. Each of contents must be a directory, or a link to one inside the store; otherwise the error matches
// errors.ErrUnsupported.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, streamLayeredImage; lndir 1.0.3.
func SymlinkTar(ctx context.Context, s store.Store, contents []store.Path) ([]byte, error) {
	t := linkTree{kinds: map[string]bool{"": true}, entries: []linkEntry{{dir: true}}}
	for _, p := range contents {
		if err := t.add(ctx, s, p); err != nil {
			return nil, fmt.Errorf("links to %s: %w", p, err)
		}
	}
	return t.tar(), nil
}

// openSymlinks makes the body of a Symlinks recipe. It reads only the paths of the recipe.
func openSymlinks(ctx context.Context, s store.Store, r Recipe) (body, error) {
	var contents, all []store.Path
	for _, o := range r.Objects {
		contents = append(contents, o.Path)
	}
	for _, o := range r.Via {
		all = append(all, o.Path)
	}
	b, err := SymlinkTar(ctx, store.Within(s, append(all, contents...)...), contents)
	return literal(b), err
}

type linkTree struct {
	kinds   map[string]bool // name -> is a directory
	entries []linkEntry
}

func (t *linkTree) add(ctx context.Context, s store.Store, p store.Path) error {
	at, root, err := store.Resolve(ctx, s, p.Abs())
	if err != nil {
		return err
	}
	if root.Kind != store.Directory {
		return fmt.Errorf("a plain file: the contents of an image must be directories: %w", errors.ErrUnsupported)
	}
	tree, err := s.Open(ctx, at)
	if err != nil {
		return err
	}
	defer tree.Close()
	skip := "\x00" // no name starts with it
	for nd, err := range tree.Nodes(ctx, root.Name) {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(nd.Name, root.Name), "/")
		if name == "" || strings.HasPrefix(name, skip) {
			continue
		}
		if !t.insert(p, name, nd) && nd.Kind == store.Directory {
			skip = name + "/"
		}
		if len(t.entries) > maxLinks {
			return fmt.Errorf("more than %d names: %w", maxLinks, errors.ErrUnsupported)
		}
	}
	return nil
}

// insert adds one node. It reports false if all nodes below it must be left out.
func (t *linkTree) insert(p store.Path, name string, nd store.Node) bool {
	isDir, exists := t.kinds[name]
	base := path.Base(name)
	switch {
	case nd.Kind == store.Directory && slices.Contains(skippedDirs, base):
		return false
	case nd.Kind == store.Directory && exists:
		return isDir
	case exists, nd.Kind != store.Directory && strings.HasSuffix(base, "~"):
		return false
	}
	e := linkEntry{name: name, dir: nd.Kind == store.Directory}
	switch nd.Kind {
	case store.Regular:
		e.target = p.Abs() + "/" + name
	case store.Symlink:
		e.target = nd.Target
	}
	t.kinds[name] = e.dir
	t.entries = append(t.entries, e)
	return true
}

func (t *linkTree) tar() []byte {
	slices.SortFunc(t.entries, func(a, b linkEntry) int { return compareComponents(a.name, b.name) })
	var b []byte
	for _, e := range t.entries {
		if !e.dir {
			b = appendGNU(b, "./"+e.name, e.target, 0o777, typeSymlink)
			continue
		}
		name := "./" + e.name
		if e.name != "" {
			name += "/"
		}
		b = appendGNU(b, name, "", 0o755, typeDirectory)
	}
	return appendZeros(b, ArchiveEnd(int64(len(b))))
}
