package binarycache

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

// maxNarinfo is the largest narinfo that is read, in bytes; ten thousand references fit.
const maxNarinfo = 1 << 20

// ErrCorrupt is matched by errors about a narinfo, an archive or a nix-cache-info that is malformed, or differs from its hash or
// size. It is the ErrCorrupt of package nar.
var ErrCorrupt = nar.ErrCorrupt

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrCorrupt)...)
}

// narinfo is the contents of a .narinfo file, which is about one path.
type narinfo struct {
	object      store.Object
	url         string // of the archive, relative to the cache
	compression nar.Compression
	fileHash    store.Hash // of the archive as stored; zero if unknown; not signed, and often wrong where a cache compresses anew
	fileSize    int64      // of the same; 0 if unknown
	signatures  []string   // "<name>:<base64>"

	byContent *contentAddress // why the path is valid without a signature; set by trust.check
}

// parseNarinfo parses a .narinfo file. cache is the URL of the cache, for archives that are named by a whole URL; "" if it has
// none. Malformed text gives an error matching [ErrCorrupt], an unknown compression one matching [errors.ErrUnsupported]. Unknown
// keys are ignored.
//
// Source: Nix, libstore/nar-info.cc.
func parseNarinfo(text, cache string) (*narinfo, error) {
	n := &narinfo{compression: nar.Bzip2} // Nix's default, from before the key existed
	seen := make(map[string]bool)
	for line, err := range keyLines(text) {
		if err != nil {
			return nil, err
		}
		known, err := n.set(line.key, line.value, cache)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return nil, fmt.Errorf("%s: %w", line.key, err)
		case err != nil:
			return nil, corrupt("%s: %v", line.key, err) // not %w: it is not the caller's input that is invalid
		}
		if known && seen[line.key] && line.key != "Sig" {
			return nil, corrupt("%s is given twice", line.key)
		}
		seen[line.key] = true
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !seen[key] {
			return nil, corrupt("%s is missing", key)
		}
	}
	return n, nil
}

type keyLine struct{ key, value string }

// keyLines yields the lines "<key>: <value>" of text, and ends after an error. The last line needs a newline, so that a truncated
// file is noticed.
func keyLines(text string) func(func(keyLine, error) bool) {
	return func(yield func(keyLine, error) bool) {
		for line := range strings.Lines(text) {
			line, whole := strings.CutSuffix(line, "\n")
			key, value, ok := strings.Cut(line, ":")
			if !whole || !ok {
				yield(keyLine{}, corrupt("line %.100q: not of the form <key>: <value>", line))
				return
			}
			if !yield(keyLine{key, strings.TrimPrefix(value, " ")}, nil) {
				return
			}
		}
	}
}

// set sets one value. known says that the key has a meaning here.
func (n *narinfo) set(key, value, cache string) (known bool, err error) {
	obj := &n.object
	switch key {
	case "StorePath":
		obj.Path, err = parseFull(value)
	case "URL":
		n.url, err = parseURL(value, cache)
	case "Compression":
		n.compression, err = nar.ParseCompression(value)
	case "FileHash":
		n.fileHash, err = store.ParseHash(value)
	case "FileSize":
		n.fileSize, err = parseSize(value)
	case "NarHash":
		obj.NarHash, err = store.ParseHash(value)
	case "NarSize":
		if obj.NarSize, err = parseSize(value); obj.NarSize == 0 && err == nil {
			err = errors.New("is 0")
		}
	case "References":
		obj.References, err = parseReferences(value)
	case "Deriver":
		if value != "unknown-deriver" && value != "" {
			obj.Deriver, err = store.ParsePath(value)
		}
	case "CA":
		obj.CA = value
	case "Sig":
		n.signatures = append(n.signatures, value)
	default:
		return false, nil
	}
	return true, err
}

// parseURL returns the name of an archive relative to the cache. Nix accepts any http or https URL. Here, a URL outside of the
// cache is refused: signatures do not cover the URL, so an attacker on the network could choose the targets of our requests.
func parseURL(s, cache string) (string, error) {
	if cache != "" {
		s = strings.TrimPrefix(s, strings.TrimRight(cache, "/")+"/")
	}
	if !fs.ValidPath(s) || s == "." {
		return "", fmt.Errorf("%.300q does not lie inside the cache", s)
	}
	return s, nil
}

func parseFull(s string) (store.Path, error) {
	p, rest, err := store.ParseAbs(s)
	if err == nil && (rest != "" || s != p.Abs()) {
		err = fmt.Errorf("%.300q is more than a store path", s)
	}
	return p, err
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%.100q is not a size", s)
	}
	return int64(n), nil
}

func parseReferences(s string) ([]store.Path, error) {
	var refs []store.Path
	for name := range strings.FieldsSeq(s) {
		p, err := store.ParsePath(name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, p)
	}
	slices.Sort(refs)
	return slices.Compact(refs), nil
}

// checkCacheInfo checks the text of nix-cache-info. Another store directory gives an error matching [errors.ErrUnsupported]. A missing
// one is ours. As in Nix, lines without a colon count for nothing and values are trimmed: the file is often written by hand.
//
// Source: Nix, libstore/binary-cache-store.cc, BinaryCacheStore::init.
func checkCacheInfo(text string) error {
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, ":")
		if value = strings.Trim(value, " \n\r\t"); key == "StoreDir" && value != store.Dir {
			return fmt.Errorf("%s: store directory %.300q, not %s: %w", cacheInfoName, value, store.Dir, errors.ErrUnsupported)
		}
	}
	return nil
}

const cacheInfoName = "nix-cache-info"
