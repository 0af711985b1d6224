// Package demo holds a small binary cache that is built into the program, so that the first pull needs neither Nix nor a
// network. Package store/binarycache reads it.
//
// Its hello-1.0, for two systems, prints files of greeting-1.0. One of the files links into nixreg-logo-1.0. rebuild.sh makes
// the cache from src, and states when it may be run.
package demo

import (
	"embed"
	"io/fs"
)

//go:embed cache
var cache embed.FS

// FS returns the binary cache: nix-cache-info, narinfo files and uncompressed NARs. It is not signed, because it is a part of the
// program.
func FS() fs.FS {
	sub, err := fs.Sub(cache, "cache")
	if err != nil {
		panic("demo: " + err.Error()) // fails only for a malformed name
	}
	return sub
}
