package local

import (
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// ignoredParameters are parameters of Nix's local stores that matter to writers, or to other stores, only.
//
// Source: Nix manual, "Local Store".
var ignoredParameters = []string{
	"log", "path-info-cache-size", "priority", "read-only", "require-sigs", "store", "system-features", "trusted", "want-mass-query",
}

// ParseURL reads the URLs by which Nix names a store of this machine:
//
//	local, local://, auto, daemon, unix://    /nix/store
//	local?root=/x, local:///x, /x             /x/nix/store
//	local?real=/x&state=/y                    the files in /x, and the database below /y
//
// A daemon is not asked: its store is read. Anything else gives an error matching [fs.ErrInvalid].
//
// Source: Nix manual, "Local Store" and "Local Daemon Store"; libstore/store-api.cc, StoreReference::parse.
func ParseURL(s string) (Options, error) {
	head, query, _ := strings.Cut(s, "?")
	scheme, rest, _ := strings.Cut(head, "://")
	var opts Options
	switch {
	case head == "local", head == "auto", head == "daemon", scheme == "unix":
	case strings.HasPrefix(head, "/"):
		rest = head
	case scheme != "local":
		return Options{}, fmt.Errorf("store %.300q: a local store is written local or local?root=/directory: %w", s, fs.ErrInvalid)
	}
	if rest != "" && scheme != "unix" { // the rest of a unix URL is the daemon's socket
		var err error
		if opts.Root, err = directory(rest); err != nil {
			return Options{}, fmt.Errorf("store %.300q: root %w", s, err)
		}
	}
	places := map[string]*string{"root": &opts.Root, "real": &opts.Real, "state": &opts.State}
	for part := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(part, "=")
		place := places[key]
		switch {
		case part == "", slices.Contains(ignoredParameters, key):
			continue
		case place == nil:
			return Options{}, fmt.Errorf("store %.300q: unknown parameter %.100q: root, real and state are known: %w", s, key, fs.ErrInvalid)
		case *place != "":
			return Options{}, fmt.Errorf("store %.300q: %s is given twice: %w", s, key, fs.ErrInvalid)
		}
		var err error
		if *place, err = directory(value); err != nil {
			return Options{}, fmt.Errorf("store %.300q: %s %w", s, key, err)
		}
	}
	return opts, nil
}

// directory decodes an absolute directory. Nix decodes %xx here and leaves + alone.
func directory(s string) (string, error) {
	dir, err := url.PathUnescape(s)
	if err != nil || !filepath.IsAbs(dir) || strings.Contains(dir, "\x00") {
		return "", fmt.Errorf("has to be an absolute directory: %w", fs.ErrInvalid)
	}
	return filepath.Clean(dir), nil
}
