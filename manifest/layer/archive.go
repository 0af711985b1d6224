package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"nixreg/store"
)

// Bounds of an archive: it comes from outside.
const (
	maxMembers     = 100_000
	maxMemberLinks = 8
)

// Archive is where the members of a docker-archive lie: a tar file, plain or gzipped, that is a store path of its own.
type Archive struct {
	ref     Ref
	gzip    bool
	at      store.Path
	node    store.Node
	members map[string]member
}

type member struct {
	offset, size int64
	link         string // another member's name, for a link
}

// OpenArchive reads the headers of the archive o.
func OpenArchive(ctx context.Context, s store.Store, o *store.Object) (*Archive, error) {
	at, nd, err := store.Resolve(ctx, s, o.Path.Abs())
	if err != nil {
		return nil, err
	}
	if nd.Kind != store.Regular {
		return nil, fmt.Errorf("archive %s: not a regular file: %w", o.Path, fs.ErrInvalid)
	}
	a := &Archive{ref: RefOf(o), at: at, node: nd, members: make(map[string]member)}
	err = a.with(ctx, s, func(r io.Reader, pos func() int64) error { return a.scan(tar.NewReader(r), pos) })
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", o.Path, err)
	}
	return a, nil
}

// with calls f with the decompressed archive and a function that tells how far f has read.
func (a *Archive) with(ctx context.Context, s store.Store, f func(io.Reader, func() int64) error) error {
	t, err := s.Open(ctx, a.at)
	if err != nil {
		return err
	}
	defer t.Close()
	raw := &nodeReader{ctx: ctx, tree: t, node: a.node}
	magic := make([]byte, 6)
	n, err := io.ReadFull(raw, magic)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	raw.pos = 0
	switch magic = magic[:n]; {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		a.gzip = true
		zr, err := gzip.NewReader(raw)
		if err != nil {
			return invalid(err)
		}
		c := &countingReader{r: zr}
		return f(c, func() int64 { return c.n })
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")), bytes.HasPrefix(magic, []byte("BZh")):
		return fmt.Errorf("compressed with something else than gzip: %w", errors.ErrUnsupported)
	}
	return f(raw, func() int64 { return raw.pos })
}

func (a *Archive) scan(tr *tar.Reader, pos func() int64) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return invalid(err)
		}
		if len(a.members) >= maxMembers {
			return fmt.Errorf("more than %d members: %w", maxMembers, fs.ErrInvalid)
		}
		m := member{offset: pos(), size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
			if h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" {
				return fmt.Errorf("member %.300q is sparse: %w", h.Name, errors.ErrUnsupported)
			}
		case tar.TypeSymlink:
			m.link = path.Join(path.Dir(h.Name), h.Linkname)
		case tar.TypeLink:
			m.link = path.Clean(h.Linkname)
		default:
			continue
		}
		a.members[path.Clean(h.Name)] = m
	}
}

func (a *Archive) find(name string) (member, error) {
	at := path.Clean(name)
	for range maxMemberLinks {
		m, ok := a.members[at]
		if !ok {
			return m, fmt.Errorf("archive %s has no member %.300q: %w", a.ref.Path, name, fs.ErrInvalid)
		}
		if m.link == "" {
			return m, nil
		}
		at = m.link
	}
	return member{}, fmt.Errorf("archive %s: member %.300q: too many links: %w", a.ref.Path, name, fs.ErrInvalid)
}

// Recipe is that of the member called name, after following links.
func (a *Archive) Recipe(name string) (Recipe, error) {
	m, err := a.find(name)
	if err != nil {
		return Recipe{}, err
	}
	return Recipe{Format: Member, Objects: []Ref{a.ref}, Offset: m.offset, Size: m.size, Gzip: a.gzip}, nil
}

// Read returns the bytes of the member called name; one larger than limit gives an error matching [store.ErrTooLarge].
func (a *Archive) Read(ctx context.Context, s store.Store, name string, limit int64) ([]byte, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if m.size > limit {
		return nil, fmt.Errorf("archive %s: member %.300q: %d bytes: %w", a.ref.Path, name, m.size, store.ErrTooLarge)
	}
	var b bytes.Buffer
	err = a.with(ctx, s, func(r io.Reader, _ func() int64) error { return copyRange(&b, r, m.offset, m.size) })
	if err != nil {
		return nil, fmt.Errorf("archive %s: member %.300q: %w", a.ref.Path, name, err)
	}
	return b.Bytes(), nil
}

// unzipRange writes n bytes from offset off of what the gzipped file nd holds. It reads from the start each time: that
// costs time, while a decompressed copy would cost the space that the store saves.
func unzipRange(ctx context.Context, t store.Tree, nd store.Node, w io.Writer, off, n int64) error {
	zr, err := gzip.NewReader(&nodeReader{ctx: ctx, tree: t, node: nd})
	if err != nil {
		return invalid(err)
	}
	return copyRange(w, zr, off, n)
}

// copyRange passes over off bytes of r and copies the next n.
func copyRange(w io.Writer, r io.Reader, off, n int64) error {
	if s, ok := r.(io.Seeker); ok {
		if _, err := s.Seek(off, io.SeekStart); err != nil {
			return err
		}
	} else if _, err := io.CopyN(io.Discard, r, off); err != nil {
		return invalid(err)
	}
	if _, err := io.CopyN(w, r, n); err != nil {
		return unexpected(err)
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// invalid marks an error of a decoder as the input's fault, but leaves the errors of reading it as they are.
func invalid(err error) error {
	if errors.Is(err, store.ErrChanged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", unexpected(err), fs.ErrInvalid)
}

// nodeReader reads a regular file of a tree through a window, and can seek in it.
type nodeReader struct {
	ctx    context.Context // of the one call that reads
	tree   store.Tree
	node   store.Node
	pos    int64
	window []byte
	start  int64 // of the window in the file
}

func (r *nodeReader) Read(p []byte) (int, error) {
	if r.pos >= r.node.Size {
		return 0, io.EOF
	}
	if r.pos < r.start || r.pos >= r.start+int64(len(r.window)) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.window[r.pos-r.start:])
	r.pos += int64(n)
	return n, nil
}

func (r *nodeReader) fill() error {
	n := min(r.node.Size-r.pos, writeBuffer)
	b := bytes.NewBuffer(r.window[:0])
	r.window = nil
	if err := r.tree.WriteFile(r.ctx, b, r.node, r.pos, n); err != nil {
		return err
	}
	r.window, r.start = b.Bytes(), r.pos
	return nil
}

// Seek never goes beyond the end.
func (r *nodeReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.node.Size
	}
	if offset < 0 || offset > r.node.Size {
		return 0, fmt.Errorf("seek to %d of %d bytes: %w", offset, r.node.Size, io.ErrUnexpectedEOF)
	}
	r.pos = offset
	return offset, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
