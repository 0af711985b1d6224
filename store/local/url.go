package local

import (
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
)

// ParseURL reads Nix's store URL of a local store, "local" or "local?root=/x". Anything else gives an error matching
// [fs.ErrInvalid].
func ParseURL(s string) (Options, error) {
	scheme, query, _ := strings.Cut(s, "?")
	if scheme != "local" {
		return Options{}, fmt.Errorf("store %.300q: a local store is written local or local?root=/directory: %w", s, fs.ErrInvalid)
	}
	var opts Options
	seen := false
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		if key != "root" {
			return Options{}, fmt.Errorf("store %.300q: unknown parameter %.100q, only root is known: %w", s, key, fs.ErrInvalid)
		}
		if seen {
			return Options{}, fmt.Errorf("store %.300q: root is given twice: %w", s, fs.ErrInvalid)
		}
		seen = true
		// Nix decodes %xx here and leaves + alone.
		root, err := url.PathUnescape(value)
		if err != nil || !filepath.IsAbs(root) || strings.Contains(root, "\x00") {
			return Options{}, fmt.Errorf("store %.300q: root has to be an absolute directory: %w", s, fs.ErrInvalid)
		}
		opts.Root = filepath.Clean(root)
	}
	return opts, nil
}
