package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/nixreg/nixreg/store"
)

// Archive is a docker-archive in a store path: a tar, plain or compressed with gzip or zstd. Safe for concurrent use; it needs no
// Close.
type Archive struct {
	maker *Maker
	ref   Ref
	file  string
	in    *contents
}

// Archive reads the headers of the archive at file in o, or of o itself if file is "". The headers are cached. The error matches
// [fs.ErrInvalid] if the file is no archive, and errors.ErrUnsupported if nixreg cannot read its compression.
func (m *Maker) Archive(ctx context.Context, o *store.Object, file string) (*Archive, error) {
	at, nd, err := store.Resolve(ctx, m.Store, o.Path.Abs()+"/"+file)
	if err != nil {
		return nil, err
	}
	if nd.Kind != store.Regular {
		return nil, fmt.Errorf("archive %s: not a regular file: %w", o.Path, fs.ErrInvalid)
	}
	a := &Archive{maker: m, ref: RefOf(o), file: file}
	if a.in, err = m.contents(ctx, a.ref, at, nd); err != nil {
		return nil, err
	}
	return a, nil
}

// Recipe returns the recipe of the member called name, after following links. The member is served as it is, compressed or not.
// The error matches [fs.ErrInvalid] if there is no such member.
func (a *Archive) Recipe(name string) (Recipe, error) {
	m, err := a.in.find(name)
	if err != nil {
		return Recipe{}, err
	}
	return a.recipe(m), nil
}

func (a *Archive) recipe(m member) Recipe {
	return Recipe{
		Format: Member, Objects: []Ref{a.ref}, File: a.file, Offset: m.Offset, Size: m.Size,
		Gzip: a.in.compression == Gzipped, Zstd: a.in.compression == Zstandard, Packed: m.Compression,
	}
}

// Read returns the bytes of the member called name. The error matches [store.ErrTooLarge] if it has more than limit bytes.
func (a *Archive) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	m, err := a.in.find(name)
	if err != nil {
		return nil, err
	}
	if m.Size > limit {
		return nil, fmt.Errorf("member %.300q: %d bytes: %w", name, m.Size, store.ErrTooLarge)
	}
	if a.in.kept != nil && m == a.in.members[keptMember] {
		return bytes.Clone(a.in.kept), nil
	}
	var b bytes.Buffer
	body := file{maker: a.maker, recipe: a.recipe(m), at: a.in.at, node: a.in.node}
	if err := body.writeRange(ctx, a.maker.Store, &b, 0, m.Size); err != nil {
		return nil, fmt.Errorf("member %.300q: %w", name, err)
	}
	return b.Bytes(), nil
}

// Headers reads the archive again and returns the headers of the members called names, in their order. A member that is a link,
// or that is not in the archive, has the zero value.
func (a *Archive) Headers(ctx context.Context, names []string) ([]Header, error) {
	wanted := make(map[string]Header, len(names))
	for _, name := range names {
		wanted[path.Clean(name)] = Header{}
	}
	if err := a.readHeaders(ctx, wanted); err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.ref.Path, err)
	}
	found := make([]Header, len(names))
	for i, name := range names {
		found[i] = wanted[path.Clean(name)]
	}
	return found, nil
}

// readHeaders sets the headers of the members whose names are keys of found.
func (a *Archive) readHeaders(ctx context.Context, found map[string]Header) error {
	t, err := a.maker.Store.Open(ctx, a.in.at)
	if err != nil {
		return err
	}
	defer t.Close()
	var r io.Reader = &nodeReader{ctx: ctx, tree: t, node: a.in.node}
	if a.in.compression != "" {
		z, err := a.in.compression.open(r, nil)
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	}
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return invalid(err)
		}
		if n == maxMembers {
			return fmt.Errorf("more than %d members: %w", maxMembers, fs.ErrInvalid)
		}
		name := path.Clean(h.Name)
		if _, ok := found[name]; !ok {
			continue
		}
		found[name] = Header{} // of members with the same name the last one counts
		if h.Typeflag == tar.TypeReg {
			found[name] = Header{
				Name: h.Name, Mode: h.Mode & 0o7777, UID: int64(h.Uid), GID: int64(h.Gid), Uname: h.Uname, Gname: h.Gname,
				MTime: h.ModTime.Unix(), Size: h.Size,
			}
		}
	}
}
