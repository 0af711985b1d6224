package layer

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// Bounds of an Entries layer: all of it stands in its recipe.
const (
	maxRootEntries = 1000
	maxRootBytes   = 1 << 20
)

// Entry is one file of an Entries layer.
type Entry struct {
	Name string `json:"name"` // relative to the image's root; of a directory it ends in "/"
	Mode int64  `json:"mode"`
	Link string `json:"link,omitempty"` // the target, if it is a symbolic link
	Data string `json:"data,omitempty"` // what the file holds
}

// openEntries makes the body of an Entries recipe: the image's root and the entries in order, in the layout of a
// Symlinks layer, with files in it.
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
	b = appendZeros(b, 2*blockSize)
	return literal(appendZeros(b, padding(int64(len(b)), recordSize))), nil
}

// check sees that an entry has one meaning, and that it follows the entry called last.
func (e Entry) check(last string) error {
	name := strings.TrimSuffix(e.Name, "/")
	switch {
	case !fs.ValidPath(name) || name == "." || len("./"+e.Name) > 100 || strings.Contains(name, "\x00"):
		return fmt.Errorf("name %.300q: %w", e.Name, fs.ErrInvalid)
	case !utf8.ValidString(e.Data) || !utf8.ValidString(e.Link): // the recipe's ID would not tell them apart
		return fmt.Errorf("name %.300q: not UTF-8: %w", e.Name, fs.ErrInvalid)
	case last != "" && compareComponents(strings.TrimSuffix(last, "/"), name) >= 0:
		return fmt.Errorf("name %.300q comes after %.300q: %w", e.Name, last, fs.ErrInvalid)
	case e.Mode < 0 || e.Mode > 0o7777, e.Link != "" && e.Data != "", name != e.Name && e.Link+e.Data != "":
		return fmt.Errorf("name %.300q: mode %o, or kind: %w", e.Name, e.Mode, fs.ErrInvalid)
	case len(e.Link) > 4095 || strings.Contains(e.Link, "\x00"):
		return fmt.Errorf("name %.300q: target %.300q: %w", e.Name, e.Link, fs.ErrInvalid)
	}
	return nil
}

func (e Entry) append(b []byte) []byte {
	switch {
	case strings.HasSuffix(e.Name, "/"):
		return appendGNU(b, "./"+e.Name, "", e.Mode, typeDirectory)
	case e.Link != "":
		return appendGNU(b, "./"+e.Name, e.Link, e.Mode, typeSymlink)
	}
	size := int64(len(e.Data))
	b = appendGNUBlock(b, "./"+e.Name, "", e.Mode, size, gnuMTime, typeRegular)
	b = append(b, e.Data...)
	return appendZeros(b, padding(size, blockSize))
}
