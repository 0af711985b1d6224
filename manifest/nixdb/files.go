package nixdb

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// File is one entry of a file system.
type File struct {
	Name string      // from the root, without a leading slash
	Mode fs.FileMode // type and permissions: a directory, a symbolic link or a regular file
	Data []byte      // of a regular file
	Link string      // target of a symbolic link
}

// Files returns the database of paths with the directories that Nix needs, their parents, and a GC root below gcroots/docker
// for each of roots. Parents come first, siblings in byte order. Nix makes the file "reserved", 8 MiB for a full disk, when it
// needs it.
//
// If a root is not among paths, the error matches [fs.ErrInvalid]. Duplicate roots are ignored. The other errors are those of
// [Database]. Safe for concurrent use.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, mkDbExtraCommand; Nix 2.8, libstore/local-store.cc.
func Files(paths []Path, roots []string) ([]File, error) {
	c, err := newClosure(paths)
	if err != nil {
		return nil, err
	}
	links := make([]File, 0, len(roots))
	for _, r := range slices.Compact(slices.Sorted(slices.Values(roots))) {
		if c.rows[r] == 0 {
			return nil, fmt.Errorf("nix database: root %.300q is not in the closure: %w", r, fs.ErrInvalid)
		}
		links = append(links, link("nix/var/nix/gcroots/docker/"+path.Base(r), r))
	}
	db, err := c.database()
	if err != nil {
		return nil, err
	}
	return slices.Concat([]File{
		dir("nix"),
		dir("nix/store"),
		dir("nix/store/.links"),
		dir("nix/var"),
		dir("nix/var/nix"),
		dir("nix/var/nix/db"),
		{Name: "nix/var/nix/db/big-lock", Mode: 0o600},
		{Name: "nix/var/nix/db/db.sqlite", Mode: 0o644, Data: db},
		{Name: "nix/var/nix/db/schema", Mode: 0o644, Data: []byte("10")},
		dir("nix/var/nix/gcroots"),
		dir("nix/var/nix/gcroots/docker"),
	}, links, []File{
		link("nix/var/nix/gcroots/profiles", "/nix/var/nix/profiles"), // Nix makes this link only when it makes gcroots
		dir("nix/var/nix/profiles"),
		dir("nix/var/nix/temproots"),
	}), nil
}

func dir(name string) File { return File{Name: name, Mode: fs.ModeDir | 0o755} }

func link(name, target string) File {
	return File{Name: name, Mode: fs.ModeSymlink | 0o777, Link: target}
}
