package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

const maxLinks = 40 // as Linux has it

// Lookup returns the node of tree called name, without following a symbolic link in it.
func Lookup(ctx context.Context, t Tree, name string) (Node, error) {
	for nd, err := range t.Nodes(ctx, name) {
		return nd, err
	}
	return Node{}, fmt.Errorf("look up %.300q: %w", name, fs.ErrNotExist)
}

// ErrTooLarge is matched by the error of [ReadFile] for a file above its limit. It matches [fs.ErrInvalid], too.
var ErrTooLarge error = tooLargeError{}

type tooLargeError struct{}

func (tooLargeError) Error() string        { return "file too large" }
func (tooLargeError) Is(target error) bool { return target == fs.ErrInvalid }

// Resolve follows the absolute path abs, which must lie below [Dir], and every symbolic link on its way. A link that leaves
// the store or passes through a path that is not valid gives an error matching [fs.ErrNotExist]. Resolve returns a store
// path and a node in it that is no symbolic link.
func Resolve(ctx context.Context, s Store, abs string) (Path, Node, error) {
	r := resolver{s: s}
	defer r.close()
	p, nd, err := r.resolve(ctx, abs)
	if err != nil {
		return "", Node{}, fmt.Errorf("resolve %.300s: %w", abs, err)
	}
	return p, nd, nil
}

// resolver goes component by component, as the kernel does. Names cannot be cleaned first: ".." behind a link is the parent
// of the link's target.
type resolver struct {
	s    Store
	path Path // the store path being walked; "" in the store directory itself
	tree Tree // of path
	at   Node // the current node of tree, never a symbolic link
}

func (r *resolver) resolve(ctx context.Context, abs string) (Path, Node, error) {
	todo, err := below(abs)
	for links := 0; err == nil && todo != ""; {
		var name string
		name, todo, _ = strings.Cut(todo, "/")
		var link string
		if link, err = r.step(ctx, name); err != nil || link == "" {
			continue
		}
		if links++; links > maxLinks {
			err = fmt.Errorf("too many symbolic links: %w", fs.ErrNotExist)
		} else if !path.IsAbs(link) {
			todo = link + "/" + todo
		} else if link, err = below(link); err == nil {
			r.close()
			todo = link + "/" + todo
		}
	}
	if err == nil && r.path == "" {
		err = outside(abs)
	}
	return r.path, r.at, err
}

// step goes to name. If name is a symbolic link, step returns its target and stays.
func (r *resolver) step(ctx context.Context, name string) (link string, err error) {
	switch {
	case name == "" || name == ".":
		return "", nil
	case r.path == "" && name == "..":
		return "", outside("..")
	case r.path == "":
		return r.enter(ctx, name)
	case r.at.Kind != Directory:
		return "", fmt.Errorf("%s: not a directory: %w", path.Join(r.path.Abs(), r.at.Name), fs.ErrNotExist)
	case name == ".." && r.at.Name == "":
		r.close()
		return "", nil
	case name == "..":
		name = strings.TrimPrefix(path.Dir("/"+r.at.Name), "/")
	default:
		name = path.Join(r.at.Name, name)
	}
	return r.look(ctx, name)
}

// enter goes from the store directory into a store path.
func (r *resolver) enter(ctx context.Context, base string) (link string, err error) {
	p, err := ParsePath(base)
	if err != nil {
		return "", fmt.Errorf("%v: %w", err, fs.ErrNotExist) // no valid path has that name
	}
	if r.tree, err = r.s.Open(ctx, p); err != nil {
		return "", err
	}
	r.path = p
	return r.look(ctx, "")
}

func (r *resolver) look(ctx context.Context, name string) (link string, err error) {
	nd, err := Lookup(ctx, r.tree, name)
	switch {
	case err != nil:
		return "", err
	case nd.Kind != Symlink:
		r.at = nd
		return "", nil
	case nd.Target == "":
		return "", fmt.Errorf("%s: empty link: %w", path.Join(r.path.Abs(), name), fs.ErrNotExist)
	}
	if name == "" {
		r.close() // the link lies in the store directory
	}
	return nd.Target, nil
}

// close goes back to the store directory.
func (r *resolver) close() {
	if r.tree != nil {
		r.tree.Close()
	}
	r.path, r.tree, r.at = "", nil, Node{}
}

// below returns the part of abs after the store directory.
func below(abs string) (string, error) {
	rest, ok := strings.CutPrefix(abs, Dir)
	if !ok || rest != "" && rest[0] != '/' {
		return "", outside(abs)
	}
	return rest, nil
}

func outside(name string) error {
	return fmt.Errorf("%.300s leads out of %s: %w", name, Dir, fs.ErrNotExist)
}

// ReadFile returns the bytes of the regular file called name in p, after following links inside the store as
// [Resolve] does. A file larger than limit bytes gives an error matching [ErrTooLarge].
func ReadFile(ctx context.Context, s Store, p Path, name string, limit int64) (b []byte, err error) {
	return Steady(func() ([]byte, error) { return readFile(ctx, s, p, name, limit) })
}

// Steady calls read until it meets no file that was touched while it was read, a few times at most. read finds its files anew each
// time: Nix replaces files by links to equal ones.
func Steady[T any](read func() (T, error)) (v T, err error) {
	const tries = 4
	for range tries {
		if v, err = read(); !errors.Is(err, ErrChanged) {
			break
		}
	}
	return v, err
}

func readFile(ctx context.Context, s Store, p Path, name string, limit int64) ([]byte, error) {
	at, nd, err := Resolve(ctx, s, path.Join(p.Abs(), name))
	if err != nil {
		return nil, err
	}
	if nd.Kind != Regular {
		return nil, fmt.Errorf("read %s: not a regular file: %w", path.Join(at.Abs(), nd.Name), fs.ErrInvalid)
	}
	if nd.Size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d are allowed: %w", path.Join(at.Abs(), nd.Name), nd.Size, limit, ErrTooLarge)
	}
	return ReadNode(ctx, s, at, nd, nd.Size)
}

// ReadNode returns the first n bytes of nd, a regular file of p.
func ReadNode(ctx context.Context, s Store, p Path, nd Node, n int64) ([]byte, error) {
	t, err := s.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var b bytes.Buffer
	b.Grow(int(n))
	if err := t.WriteFile(ctx, &b, nd, 0, n); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
