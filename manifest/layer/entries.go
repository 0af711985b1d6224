package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/nixreg/nixreg/store"
)

// Bounds of an Entries layer. All of it is in its recipe.
const (
	maxRootEntries = 1000
	maxRootBytes   = 1 << 20
)

// body is the bytes of one layer before any encoding. Its layout is in memory; files are read from the store on each call. Safe
// for concurrent use.
type body interface {
	size() int64
	// weight is the memory of the body in bytes, approximately.
	weight() int64
	// stamp changes when a file changes that the bytes come from.
	stamp() string
	// writeRange writes n bytes from offset off.
	writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error
}

// literal is a body in memory.
type literal []byte

func (l literal) size() int64 { return int64(len(l)) }

func (l literal) weight() int64 { return int64(len(l)) }

// stamp is a digest: names and links have no stamps.
func (l literal) stamp() string {
	sum := sha256.Sum256(l)
	return hex.EncodeToString(sum[:16])
}

func (l literal) writeRange(_ context.Context, _ store.Store, w io.Writer, off, n int64) error {
	_, err := io.Copy(w, bytes.NewReader(l[off:off+n]))
	return err
}

// openEntries makes the body of an Entries recipe: the root directory of the image, then the entries in their order. The layout
// is that of a Symlinks layer.
func openEntries(r Recipe) (body, error) {
	if len(r.Entries) > maxRootEntries {
		return nil, fmt.Errorf("layer format %s: %d entries: %w", r.Format, len(r.Entries), fs.ErrInvalid)
	}
	b := appendGNU(nil, "./", "", 0o755, typeDirectory)
	last := ""
	for _, e := range r.Entries {
		if err := e.check(last); err != nil {
			return nil, fmt.Errorf("layer format %s: %w", r.Format, err)
		}
		last = e.Name
		b = e.append(b)
		if len(b) > maxRootBytes {
			return nil, fmt.Errorf("layer format %s: more than %d bytes: %w", r.Format, maxRootBytes, fs.ErrInvalid)
		}
	}
	return literal(appendZeros(b, ArchiveEnd(int64(len(b))))), nil
}

// check reports an entry that is ambiguous, or that does not sort after the entry called last.
func (e Entry) check(last string) error {
	name := strings.TrimSuffix(e.Name, "/")
	switch {
	case !fs.ValidPath(name) || name == "." || len("./"+e.Name) > 100 || strings.Contains(name, "\x00"):
		return fmt.Errorf("name %.300q: %w", e.Name, fs.ErrInvalid)
	case !utf8.ValidString(e.Data) || !utf8.ValidString(e.Link): // JSON would give different texts one recipe ID
		return fmt.Errorf("name %.300q: not UTF-8: %w", e.Name, fs.ErrInvalid)
	case last != "" && compareComponents(strings.TrimSuffix(last, "/"), name) >= 0:
		return fmt.Errorf("name %.300q comes after %.300q: %w", e.Name, last, fs.ErrInvalid)
	case e.UID < 0 || e.GID < 0, e.Mode < 0 || e.Mode > 0o7777, e.Link != "" && e.Data != "", name != e.Name && e.Link+e.Data != "":
		return fmt.Errorf("name %.300q: mode %o, or kind: %w", e.Name, e.Mode, fs.ErrInvalid)
	case len(e.Link) > 4095 || strings.Contains(e.Link, "\x00"):
		return fmt.Errorf("name %.300q: target %.300q: %w", e.Name, e.Link, fs.ErrInvalid)
	}
	return nil
}

func (e Entry) append(b []byte) []byte {
	size := int64(len(e.Data))
	switch {
	case strings.HasSuffix(e.Name, "/"):
		b = appendGNU(b, "./"+e.Name, "", e.Mode, typeDirectory)
	case e.Link != "":
		b = appendGNU(b, "./"+e.Name, e.Link, e.Mode, typeSymlink)
	default:
		b = appendGNUBlock(b, "./"+e.Name, "", e.Mode, size, gnuMTime, typeRegular)
	}
	if e.UID != 0 || e.GID != 0 {
		setGNUOwner(b, e.UID, e.GID)
	}
	b = append(b, e.Data...)
	return appendZeros(b, MemberEnd(size))
}
