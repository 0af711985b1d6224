// Package demo holds a tiny Nix store that travels in the binary, so that the first pull needs neither Nix nor a
// network: a binary cache in miniature, to be read by store/binarycache.
//
// Its hello-1.0, for two systems, prints files of greeting-1.0, one of which links into nixreg-logo-1.0. rebuild.sh
// makes the cache from src; see there when it may be run.
package demo

import (
	"embed"
	"io/fs"
)

//go:embed cache
var cache embed.FS

// FS is the binary cache: nix-cache-info, narinfo files and uncompressed NARs. It is unsigned: whoever trusts the
// program trusts it.
func FS() fs.FS {
	sub, err := fs.Sub(cache, "cache")
	if err != nil {
		panic("demo: " + err.Error()) // only a malformed name can fail
	}
	return sub
}
