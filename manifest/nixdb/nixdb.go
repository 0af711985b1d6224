// Package nixdb writes the database of a Nix store, so that Nix inside an image knows the paths of the image.
//
// It owns the bytes of the database ([Format]), the part of SQLite's file format that they need, and the files around it. It
// uses no SQLite library, because a new version of a library could change the digest. It must not know stores, layers or
// images, and uses the standard library alone.
//
//	files, err := nixdb.Files(closure, contents)
//	for _, f := range files { … } // nix/var/nix/db/db.sqlite and the rest, parents first
package nixdb

// Format names the bytes that this package makes. They never change. Other bytes get a new name.
const Format = "nixdb1"

// Database returns a SQLite database of Nix's schema 10 with these paths. The rows are sorted by name, so the order of paths
// changes no byte. The paths are registered at second 1, and not ultimately trusted. The database needs no -wal or -journal
// file, and Nix can write to it.
//
// The error matches [io/fs.ErrInvalid] if a path is malformed or listed twice, if a hash, size, content address or signature is
// malformed, or if a reference is not among paths. It matches [errors.ErrUnsupported] if the database has more than 256 MiB.
// The database of 100,000 paths with ten references each has about 120 MB, and needs 180 MB of memory. Outputs of derivations
// are not recorded. Nix reads them from the .drv, but `nix-store --query --include-outputs` does not find them.
//
// Safe for concurrent use.
//
// Source: Nix 2.8, libstore/schema.sql and local-store.cc (addValidPath); https://www.sqlite.org/fileformat2.html.
func Database(paths []Path) ([]byte, error) {
	c, err := newClosure(paths)
	if err != nil {
		return nil, err
	}
	return c.database()
}
