package dockertools

import (
	"bytes"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// HiddenFile returns the hidden path of a file with a text: nixpkgs' base.json.
func HiddenFile(text []byte, closure []*store.Object) Hidden {
	return Hidden{NarSize: narSizeOfFile(len(text)), References: mentions(text, closure)}
}

// HiddenLayer returns the hidden path of the customisation layer, a tar.
func HiddenLayer(tar []byte, closure []*store.Object) Hidden {
	return Hidden{NarSize: narSizeOfCustomisation(len(tar)), References: mentions(tar, closure)}
}

// mentions returns the objects whose hash part occurs in text, as Nix's scan for references finds them.
//
// Source: Nix, libstore/references.cc, search: 32 characters of its base 32 in a row.
func mentions(text []byte, among []*store.Object) []store.Path {
	byHash := make(map[string]store.Path, len(among))
	for _, o := range among {
		byHash[o.Path.Hash()] = o.Path
	}
	found := make(map[store.Path]bool)
	for i := 0; i+store.HashLen <= len(text); {
		window := text[i : i+store.HashLen]
		if k := bytes.LastIndexFunc(window, notBase32); k >= 0 {
			i += k + 1
			continue
		}
		if p, ok := byHash[string(window)]; ok {
			found[p] = true
		}
		i++
	}
	out := make([]store.Path, 0, len(found))
	for p := range found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func notBase32(r rune) bool { return r >= 0x80 || strings.IndexByte(store.Base32, byte(r)) < 0 }

// The sizes of the two paths that nixpkgs' layering counts, as NARs: each string takes its length in 8 bytes and is
// padded to 8.
func narSizeOfFile(n int) int64 { return 112 + pad8(n) }

func narSizeOfCustomisation(layerTar int) int64 {
	const directory, entry, file, checksum = 96, 80, 88 + 8 - 8, 64 + 1
	return directory +
		entry + 16 + file + pad8(checksum) + // "checksum": 64 hex digits and a newline
		entry + 24 + file + pad8(layerTar) // "layer.tar"
}

func pad8(n int) int64 { return int64(n+7) / 8 * 8 }
