package realise

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
)

const (
	maxAttr       = 256 // bytes
	maxComponents = 8
)

// Attr is an attribute path, "python3Packages.requests". Only [ParseAttr] and [Builder.Find] make one. It needs no quotes in Nix's
// syntax, and cannot be taken for an option.
type Attr string

// ParseAttr parses an attribute path of at most 8 plain identifiers and 256 bytes. Others give an error matching [fs.ErrInvalid].
func ParseAttr(s string) (Attr, error) {
	if len(s) > maxAttr || strings.Count(s, ".") >= maxComponents {
		return "", fmt.Errorf("attribute path %.100q: longer than %d names or %d bytes: %w", s, maxComponents, maxAttr, fs.ErrInvalid)
	}
	for c := range strings.SplitSeq(s, ".") {
		if !identifier(c) {
			return "", fmt.Errorf("attribute path %.100q: %.100q is no plain name: %w", s, c, fs.ErrInvalid)
		}
	}
	return Attr(s), nil
}

// identifier reports whether s is a name that needs no quotes.
//
// Source: Nix, libexpr/lexer.l, ID.
func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		first := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !first && (i == 0 || !('0' <= c && c <= '9' || c == '\'' || c == '-')) {
			return false
		}
	}
	return s != ""
}

// System is Nix's name of Linux on goarch, "x86_64-linux"; "" if Nix has none.
func System(goarch string) string {
	cpu := map[string]string{
		"386": "i686", "amd64": "x86_64", "arm": "armv7l", "arm64": "aarch64", "loong64": "loongarch64",
		"mips64le": "mips64el", "mipsle": "mipsel", "ppc64le": "powerpc64le", "ppc64": "powerpc64", "riscv64": "riscv64", "s390x": "s390x",
	}[goarch]
	if cpu == "" {
		return ""
	}
	return cpu + "-linux"
}

// Host is the [System] of this machine.
func Host() string { return System(runtime.GOARCH) }

func checkSystem(s string) error {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' && i > 0) {
			return fmt.Errorf("system %.100q: not one of Nix's: %w", s, fs.ErrInvalid)
		}
	}
	if s == "" || len(s) > 64 {
		return fmt.Errorf("system %.100q: not one of Nix's: %w", s, fs.ErrInvalid)
	}
	return nil
}
