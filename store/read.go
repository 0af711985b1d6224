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

// ErrTooLarge is matched by the error of [ReadFile] for a file above its limit.
var ErrTooLarge = errors.New("file too large")

// Resolve follows the absolute path abs, which must lie below [Dir], and every symbolic link on its way, inside the
// store only: a link that leaves the store, or passes through a path that is not valid, gives an error matching
// [fs.ErrNotExist]. It returns the store path that is reached and the node in it, never a symbolic link.
func Resolve(ctx context.Context, s Store, abs string) (Path, Node, error) {
	done := Dir
	todo := strings.TrimPrefix(path.Clean(abs), Dir+"/")
	if !strings.HasPrefix(path.Clean(abs), Dir+"/") {
		return "", Node{}, outside(abs)
	}
	for range maxLinks {
		p, nd, rest, err := walk(ctx, s, done, todo)
		if err != nil {
			return "", Node{}, fmt.Errorf("resolve %.300s: %w", abs, err)
		}
		if nd.Kind != Symlink {
			return p, nd, nil
		}
		next := nd.Target
		if !path.IsAbs(next) {
			next = path.Dir(path.Join(p.Abs(), nd.Name)) + "/" + next
		}
		next = path.Clean(next + "/" + rest)
		if !strings.HasPrefix(next, Dir+"/") {
			return "", Node{}, outside(abs)
		}
		done, todo = Dir, strings.TrimPrefix(next, Dir+"/")
	}
	return "", Node{}, fmt.Errorf("resolve %.300s: too many symbolic links: %w", abs, fs.ErrNotExist)
}

func outside(abs string) error {
	return fmt.Errorf("resolve %.300s: leads out of %s: %w", abs, Dir, fs.ErrNotExist)
}

// walk goes from the store directory along todo until its end or the first symbolic link; rest is what is left then.
func walk(ctx context.Context, s Store, dir, todo string) (p Path, nd Node, rest string, err error) {
	base, rest, _ := strings.Cut(todo, "/")
	if p, err = ParsePath(base); err != nil {
		return p, nd, "", err
	}
	t, err := s.Open(ctx, p)
	if err != nil {
		return p, nd, "", err
	}
	defer t.Close()
	name := ""
	for {
		if nd, err = Lookup(ctx, t, name); err != nil {
			return p, nd, "", err
		}
		if nd.Kind == Symlink || rest == "" {
			return p, nd, rest, nil
		}
		if nd.Kind != Directory {
			return p, nd, "", fmt.Errorf("%s: not a directory: %w", path.Join(dir, string(p), name), fs.ErrNotExist)
		}
		var next string
		next, rest, _ = strings.Cut(rest, "/")
		name = path.Join(name, next)
	}
}

// ReadFile returns the bytes of the regular file called name in p, after following links inside the store as
// [Resolve] does. A file larger than limit bytes gives an error matching [ErrTooLarge].
func ReadFile(ctx context.Context, s Store, p Path, name string, limit int64) ([]byte, error) {
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
