package nixdb

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const (
	storeDir   = "/nix/store/"
	hashLen    = 32
	maxNameLen = 211 // such an index entry is well below a quarter of a page, above which it would overflow

	base32    = "0123456789abcdfghijklmnpqrsvwxyz"
	nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._?="
)

// Path is a valid path of the database. All fields are checked before they are written.
type Path struct {
	Path       string   // /nix/store/<hash>-<name>
	NarHash    string   // sha256:<64 lower-case hexadecimal digits>
	NarSize    int64    // bytes; 0 if unknown
	References []string // in any order, all in the closure; may contain the path itself
	Deriver    string   // /nix/store/<hash>-<name>.drv, which may be outside the closure; "" if unknown
	CA         string   // content address as Nix writes it; "" for none
	Sigs       []string // <key name>:<base64>, written in this order
}

// closure is a list of valid paths. The row of a path is its index in paths plus 1.
type closure struct {
	paths []*Path // sorted by name
	rows  map[string]uint32
	refs  []ref // sorted by referrer, then reference, without duplicates
}

// ref is a row of Refs. Its fields are rows of ValidPaths.
type ref struct{ referrer, reference uint32 }

// newClosure checks paths and returns their closure.
func newClosure(paths []Path) (*closure, error) {
	c := &closure{paths: make([]*Path, len(paths)), rows: make(map[string]uint32, len(paths))}
	for i := range paths {
		if err := paths[i].check(); err != nil {
			return nil, fmt.Errorf("nix database: path %.300q: %w: %w", paths[i].Path, err, fs.ErrInvalid)
		}
		c.paths[i] = &paths[i]
	}
	slices.SortFunc(c.paths, func(a, b *Path) int { return strings.Compare(a.Path, b.Path) })
	for i, p := range c.paths {
		if c.rows[p.Path] != 0 {
			return nil, fmt.Errorf("nix database: path %s is listed twice: %w", p.Path, fs.ErrInvalid)
		}
		c.rows[p.Path] = uint32(i + 1)
	}
	return c, c.connect()
}

// connect fills refs.
func (c *closure) connect() error {
	for i, p := range c.paths {
		first := len(c.refs)
		for _, r := range p.References {
			row := c.rows[r]
			if row == 0 {
				return fmt.Errorf("nix database: path %s: reference %.300q is not in the closure: %w", p.Path, r, fs.ErrInvalid)
			}
			c.refs = append(c.refs, ref{uint32(i + 1), row})
		}
		own := c.refs[first:]
		slices.SortFunc(own, func(a, b ref) int { return cmp.Compare(a.reference, b.reference) })
		c.refs = c.refs[:first+len(slices.Compact(own))]
	}
	return nil
}

// check checks all fields but the references. Nix trusts its database: one malformed row can make all of it useless.
func (p *Path) check() error {
	if err := checkPath(p.Path); err != nil {
		return err
	}
	digits, ok := strings.CutPrefix(p.NarHash, "sha256:")
	if _, err := hex.DecodeString(digits); !ok || err != nil || len(digits) != 64 || strings.ToLower(digits) != digits {
		return fmt.Errorf("NAR hash %.100q: not a sha256 in lower-case hex", p.NarHash)
	}
	if p.NarSize < 0 {
		return fmt.Errorf("NAR size is %d", p.NarSize)
	}
	if p.Deriver != "" {
		if err := checkPath(p.Deriver); err != nil {
			return fmt.Errorf("deriver %.300q: %w", p.Deriver, err)
		}
	}
	if p.CA != "" && !isWord(p.CA) {
		return fmt.Errorf("content address %.100q: not one printable word", p.CA)
	}
	for _, s := range p.Sigs {
		if !isWord(s) { // signatures are separated by blanks
			return fmt.Errorf("signature %.100q: not one printable word", s)
		}
	}
	return nil
}

// checkPath accepts the paths that Nix's checkName accepts.
func checkPath(s string) error {
	base, ok := strings.CutPrefix(s, storeDir)
	if !ok {
		return errors.New("not below /nix/store")
	}
	if len(base) < hashLen+2 || base[hashLen] != '-' || strings.Trim(base[:hashLen], base32) != "" {
		return errors.New("not of the form <hash>-<name>")
	}
	name := base[hashLen+1:]
	if len(name) > maxNameLen || strings.Trim(name, nameBytes) != "" {
		return errors.New("name is too long or has an illegal character")
	}
	return nil
}

// isWord reports whether s is printable ASCII without blanks, and not empty.
func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
