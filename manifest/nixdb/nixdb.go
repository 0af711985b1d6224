// Package nixdb writes the database of a Nix store, so that Nix inside an image knows the paths the image has.
//
// It owns the frozen bytes of that database ([Format]), the part of SQLite's file format they need, and the files around
// it. No SQLite library has a hand in them, so no library's next version moves a digest. It knows no store, no layer and
// no image: strings in, bytes out, from the standard library alone.
//
//	files, err := nixdb.Files(closure, contents)
//	for _, f := range files { … } // nix/var/nix/db/db.sqlite and the rest, parents first
package nixdb

// Format names the bytes this package makes. They never change once released; different ones get a new name.
const Format = "nixdb1"

// Path is what the database says of one valid path. All of it is checked before it is written.
type Path struct {
	Path       string   // /nix/store/<hash>-<name>
	NarHash    string   // sha256:<64 lower-case hexadecimal digits>
	NarSize    int64    // bytes; 0 where unknown
	References []string // in any order, each in the closure; a path that mentions itself is among its own
	Deriver    string   // /nix/store/<hash>-<name>.drv, which need not be in the closure; "" where unknown
	CA         string   // content address as Nix writes it; "" for none
	Sigs       []string // <key name>:<base64>, in this order
}

// registered is the registration time of every path, in seconds since 1970: an image has no clock.
const registered = 1

// Database returns a SQLite database of Nix's schema 10 with these paths: their rows in the order of their names,
// registered at second 1, none of them ultimately trusted. It needs no -wal or -journal beside it, and Nix can go on
// writing to it. Paths may come in any order; which one changes no byte.
//
// A path that is malformed or there twice, a hash, size, content address or signature that is malformed, or a reference
// to a path that is not there give an error matching [io/fs.ErrInvalid], a database of more than 256 MiB one matching
// [errors.ErrUnsupported]. The database of 100,000 paths with ten references each has about 120 MB; memory is half as
// much again. Outputs of derivations are not recorded: a .drv in the closure is a path like any other, whose outputs Nix
// learns by reading it, but `nix-store --query --include-outputs` does not find them.
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
