package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// Bounds of an archive.
const (
	maxMembers     = 100_000
	maxMemberNames = 16 << 20 // bytes of all names
	maxMemberLinks = 8
	maxKept        = 1 << 20
	maxAfterEnd    = 64 << 20 // uncompressed bytes after the end of the tar
)

// keptMember is kept in memory: each request for an image of the archive reads it first.
const keptMember = "manifest.json"

// contents are the members of an archive with their offsets.
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
	Compression Compression `json:"packing,omitempty"` // of the member itself
	Link        string      `json:"link,omitempty"`    // the name of another member, if it is a link
}

// read reads the headers of an archive, which may unpack to at most limit bytes. x becomes the index of a gzipped archive.
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
	bounded := &boundedReader{ctx: ctx, r: z, limit: limit, left: limit}
	n := &countingReader{r: bounded}
	if err := c.scan(tar.NewReader(n), func() int64 { return n.n }); err != nil {
		return err
	}
	after, err := io.Copy(io.Discard, io.LimitReader(bounded, maxAfterEnd+1)) // to check the checksum, and to complete the index
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

// look sets the compression of a member, and keeps the bytes of keptMember.
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
		m.Compression, err = "", nil // served as it is
	}
	return err
}

// weight is the memory of the contents in bytes, approximately.
func (c *contents) weight() int64 {
	return int64(c.names+len(c.kept)) + int64(len(c.members))*128 + 512
}

// find returns the member called name, after following links.
func (c *contents) find(name string) (member, error) {
	at := path.Clean(name)
	for range maxMemberLinks {
		m, ok := c.members[at]
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
