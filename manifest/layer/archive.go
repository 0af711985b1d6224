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

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// Bounds of an archive: it comes from outside.
const (
	maxMembers     = 100_000
	maxMemberNames = 16 << 20 // bytes of all names
	maxMemberLinks = 8
	maxKept        = 1 << 20
	maxAfterEnd    = 64 << 20 // bytes behind the tar's end, unpacked
)

// keptMember is remembered with where the members lie: whoever asks for an image begins with it.
const keptMember = "manifest.json"

// Archive is a docker-archive: a tar file, plain or compressed with gzip or zstd, in a store path. Safe for concurrent
// use; there is nothing to close.
type Archive struct {
	maker *Maker
	ref   Ref
	file  string
	in    *contents
}

// contents is what there is in an archive, and where.
type contents struct {
	at          store.Path
	node        store.Node
	compression Compression
	members     map[string]member
	names       int    // bytes
	kept        []byte // the bytes of keptMember
}

type member struct {
	Offset      int64       `json:"offset"`
	Size        int64       `json:"size"`
	Compression Compression `json:"packing,omitempty"` // of its own bytes
	Link        string      `json:"link,omitempty"`    // another member's name, for a link
}

// Archive reads the headers of the archive that lies at file in o; "" is o itself. They are remembered for a while. What
// is no archive gives an error matching [fs.ErrInvalid], an archive that is compressed otherwise errors.ErrUnsupported.
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

func contentsKey(ref Ref, at store.Path, nd store.Node) string {
	return fmt.Sprint("archive/", ref.NarHash, "/", at, "/", nd.Name, nd.Size, nd.Stamp)
}

// contents reads an archive through, once however many ask. Who hashes may call it: it waits for other scans alone, and
// these wait for nobody.
func (m *Maker) contents(ctx context.Context, ref Ref, at store.Path, nd store.Node) (*contents, error) {
	key := contentsKey(ref, at, nd)
	if c := m.knownContents(ctx, key, at, nd); c != nil {
		return c, nil
	}
	return flight.Once(ctx, m.Group, key, func(ctx context.Context) (*contents, error) {
		release, err := m.Scanning.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		c := &contents{at: at, node: nd, members: make(map[string]member)}
		x := new(gunzip.Index)
		if err := c.read(ctx, m.Store, m.limit(nd.Size), x); err != nil {
			return nil, fmt.Errorf("archive %s: %w", ref.Path, err)
		}
		if c.compression == Gzipped {
			m.keepIndex(key, x)
		}
		m.keepContents(key, c)
		return c, m.recordContents(ctx, key, c)
	})
}

// read looks through an archive that may unpack to as many bytes as limit. The index is built of a gzipped one.
func (c *contents) read(ctx context.Context, s store.Store, limit int64, x *gunzip.Index) error {
	t, err := s.Open(ctx, c.at)
	if err != nil {
		return err
	}
	defer t.Close()
	raw := &nodeReader{ctx: ctx, tree: t, node: c.node}
	if c.compression, err = readCompression(raw); err != nil {
		return err
	}
	raw.pos = 0
	if c.compression == "" {
		return c.scan(tar.NewReader(raw), func() int64 { return raw.pos })
	}
	z, err := c.compression.open(raw, x)
	if err != nil {
		return err
	}
	defer z.Close()
	sound := &boundedReader{ctx: ctx, r: z, limit: limit, left: limit}
	n := &countingReader{r: sound}
	if err := c.scan(tar.NewReader(n), func() int64 { return n.n }); err != nil {
		return err
	}
	after, err := io.Copy(io.Discard, io.LimitReader(sound, maxAfterEnd+1)) // it must be sound too, and the index whole
	if err != nil {
		return invalid(err)
	}
	if after > maxAfterEnd {
		return fmt.Errorf("more than %d bytes follow its end: %w", maxAfterEnd, fs.ErrInvalid)
	}
	return nil
}

func (c *contents) scan(tr *tar.Reader, pos func() int64) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return invalid(err)
		}
		m := member{Offset: pos(), Size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
			if h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" {
				return fmt.Errorf("member %.300q is sparse: %w", h.Name, errors.ErrUnsupported)
			}
			if err := c.look(tr, h, &m); err != nil {
				return invalid(err)
			}
		case tar.TypeSymlink:
			m.Link = path.Join(path.Dir(h.Name), h.Linkname)
		case tar.TypeLink:
			m.Link = path.Clean(h.Linkname)
		default:
			continue
		}
		name := path.Clean(h.Name)
		c.members[name] = m
		c.names += len(name) + len(m.Link)
		if len(c.members) > maxMembers || c.names > maxMemberNames {
			return fmt.Errorf("more than %d members, or names too long: %w", maxMembers, fs.ErrInvalid)
		}
	}
}

// look reads of a member what is to be remembered.
func (c *contents) look(tr *tar.Reader, h *tar.Header, m *member) (err error) {
	if path.Clean(h.Name) == keptMember {
		c.kept = nil // of several members the last one counts
		if h.Size <= maxKept {
			c.kept, err = io.ReadAll(tr)
			return err
		}
	}
	m.Compression, err = readCompression(tr)
	if errors.Is(err, errors.ErrUnsupported) {
		m.Compression, err = "", nil // bytes like others
	}
	return err
}

// weight is about how many bytes of memory the contents take.
func (c *contents) weight() int64 {
	return int64(c.names+len(c.kept)) + int64(len(c.members))*128 + 512
}

func (a *Archive) find(name string) (member, error) {
	at := path.Clean(name)
	for range maxMemberLinks {
		m, ok := a.in.members[at]
		if !ok {
			return m, fmt.Errorf("no member %.300q: %w", name, fs.ErrInvalid)
		}
		if m.Link == "" {
			return m, nil
		}
		at = m.Link
	}
	return member{}, fmt.Errorf("member %.300q: too many links: %w", name, fs.ErrInvalid)
}

// Recipe is that of the member called name, after following links. Its bytes stay as they are, compressed or not. A
// member that is not there gives an error matching [fs.ErrInvalid].
func (a *Archive) Recipe(name string) (Recipe, error) {
	m, err := a.find(name)
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

// Read returns the bytes of the member called name; one larger than limit gives an error matching [store.ErrTooLarge].
func (a *Archive) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	m, err := a.find(name)
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
	for _, kind := range []error{store.ErrChanged, fs.ErrNotExist, fs.ErrInvalid, errors.ErrUnsupported, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", unexpected(err), fs.ErrInvalid)
}
