package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Dir is the store directory every path of this program lives in, whatever the place its files are read from.
const Dir = "/nix/store"

// Base32 is Nix's alphabet: no e, o, u or t.
const Base32 = "0123456789abcdfghijklmnpqrsvwxyz"

// HashLen is the number of characters of a store path's hash part.
const HashLen = 32

const maxNameLen = 211

// Path is the base name of a store path, "<hash>-<name>". Only [ParsePath] and [ParseAbs] make one, so a Path in
// hand is well formed: it holds no slash, no NUL, and does not start with a dot.
type Path string

// ParsePath reads a base name. Malformed input gives an error matching [fs.ErrInvalid].
//
// Source: Nix, libstore/path.cc, checkName.
func ParsePath(s string) (Path, error) {
	if err := checkPath(s); err != nil {
		return "", fmt.Errorf("store path %.300q: %w: %w", s, err, fs.ErrInvalid)
	}
	return Path(s), nil
}

// ParseAbs reads "/nix/store/<hash>-<name>[/rest]" and returns the path and the rest without its leading slash.
func ParseAbs(s string) (p Path, rest string, err error) {
	in, ok := strings.CutPrefix(s, Dir+"/")
	if !ok {
		return "", "", fmt.Errorf("path %.300q: not below %s: %w", s, Dir, fs.ErrInvalid)
	}
	base, rest, _ := strings.Cut(in, "/")
	p, err = ParsePath(base)
	return p, rest, err
}

// IsHash reports whether s is spelled like the hash part of a store path.
func IsHash(s string) bool {
	if len(s) != HashLen {
		return false
	}
	for i := range len(s) {
		if strings.IndexByte(Base32, s[i]) < 0 {
			return false
		}
	}
	return true
}

func checkPath(s string) error {
	if len(s) < HashLen+2 || s[HashLen] != '-' {
		return errors.New("not of the form <hash>-<name>")
	}
	if !IsHash(s[:HashLen]) {
		return errors.New("hash part is not 32 characters of Nix's base 32")
	}
	name := s[HashLen+1:]
	if len(name) > maxNameLen {
		return fmt.Errorf("name is longer than %d characters", maxNameLen)
	}
	for i := range len(name) {
		if !IsNameByte(name[i]) {
			return fmt.Errorf("name has the illegal character %q", name[i])
		}
	}
	// "." and ".." alone, or before a dash, are what Nix itself refuses; other leading dots are legal since 2.24.
	if first, _, _ := strings.Cut(name, "-"); first == "." || first == ".." {
		return errors.New("name is a dot or two, or starts with them and a dash")
	}
	return nil
}

// IsNameByte reports whether c may be in the name of a store path.
func IsNameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("+-._?=", c) >= 0
}

// Hash is the 32-character hash part.
func (p Path) Hash() string { return string(p[:HashLen]) }

// Name is what follows the hash part.
func (p Path) Name() string { return string(p[HashLen+1:]) }

// Abs is the full path, "/nix/store/<hash>-<name>".
func (p Path) Abs() string { return Dir + "/" + string(p) }
