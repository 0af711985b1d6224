// Package binarycache reads a Nix binary cache: narinfo files that tell what there is, and compressed archives (NARs)
// that hold it. It is a store.Store over any [fs.FS] that is laid out as `nix copy --to file://…` does it:
//
//	nix-cache-info
//	<hash>.narinfo
//	nar/<file hash>.nar.xz
//
// It owns signatures, decompression and the spool: an archive is fetched whole into an unlinked temporary file and
// its hash verified before the first byte of it is used; a few lately used ones are kept. It knows nothing of OCI.
//
//	s, err := binarycache.Open(binarycache.Options{FS: os.DirFS("/srv/cache"), Keys: keys})
//	defer s.Close()
package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"

	"nixreg/store"
)

// ErrCorrupt is matched by errors about a narinfo, an archive or a nix-cache-info that is malformed or is not what it
// was said to be.
var ErrCorrupt = errors.New("corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrCorrupt)...)
}

// Options says which cache to read and what it may use. The zero value of all but FS is good.
type Options struct {
	FS fs.FS // the cache; if its root has no modification time, as that of an embed.FS, it is taken as unchanging

	// Keys are trusted: a path that none of them signed is not valid in the store. Without keys no signature is asked
	// for, which is right only where the FS itself is trusted, as an embedded one.
	Keys []PublicKey

	SpoolDir  string // where temporary files are made; default os.TempDir()
	SpoolSize int64  // bytes of unpacked archives to keep for further use; default 256 MiB, negative for none; those in use may exceed it
	MaxNAR    int64  // bytes of the largest archive that is unpacked; default 16 GiB

	Log *slog.Logger // gets what List leaves out, and why; nil is silence
}

// Store is a store.Store over a binary cache. Safe for concurrent use.
type Store struct {
	keys   []PublicKey
	maxNAR int64
	log    *slog.Logger
	index  *index
	source fetcher
	spool  *spool
}

// Open returns the store in opts.FS; the caller closes it. A cache of another store directory gives an error matching
// errors.ErrUnsupported; an FS without nix-cache-info one matching [fs.ErrNotExist].
func Open(opts Options) (*Store, error) {
	if opts.SpoolSize == 0 {
		opts.SpoolSize = 256 << 20
	}
	if opts.MaxNAR == 0 {
		opts.MaxNAR = 16 << 30
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkCacheInfo(opts.FS); err != nil {
		return nil, fmt.Errorf("open binary cache: %w", err)
	}
	s := &Store{
		keys:   opts.Keys,
		maxNAR: opts.MaxNAR,
		log:    opts.Log,
		index:  newIndex(opts.FS),
		source: dir{opts.FS},
	}
	s.spool = newSpool(opts.SpoolDir, opts.SpoolSize, s.unpack)
	return s, nil
}

func checkCacheInfo(fsys fs.FS) error {
	const name = "nix-cache-info"
	text, _, err := readSmall(fsys, name)
	if err != nil {
		return err
	}
	for line, err := range keyLines(text) {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if line.key == "StoreDir" && line.value != store.Dir {
			return fmt.Errorf("%s: store directory %.300q, not %s: %w", name, line.value, store.Dir, errors.ErrUnsupported)
		}
	}
	return nil
}

// Close ends what is being fetched and frees what was kept. Trees that are open stay usable until they are closed.
func (s *Store) Close() error {
	s.spool.close()
	return nil
}

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, hash string) (store.Path, error) {
	n, err := s.narinfo(ctx, hash)
	if err != nil {
		return "", fmt.Errorf("find %.100q: %w", hash, err)
	}
	return n.object.Path, nil
}

// Object implements store.Store.
func (s *Store) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	n, err := s.valid(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", p, err)
	}
	obj := n.object
	obj.References = append([]store.Path(nil), obj.References...)
	return &obj, nil
}

// Open implements store.Store. The first use of a path waits until its archive is fetched, unpacked and verified;
// that goes on if ctx ends before, so that the next caller finds it done. An archive that is not what its narinfo
// says gives an error matching [ErrCorrupt], one above Options.MaxNAR one matching store.ErrTooLarge.
func (s *Store) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	n, err := s.valid(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	a, err := s.spool.acquire(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &tree{path: p, archive: a, release: func() { s.spool.release(a) }}, nil
}

// List implements store.Store; the order is that of the hash parts. A narinfo that cannot be used is left out.
func (s *Store) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		hashes, err := s.index.hashes()
		for i := 0; i < len(hashes) && err == nil; i++ {
			var n *narinfo
			n, err = s.narinfo(ctx, hashes[i])
			switch {
			case err == nil:
				if !yield(n.object.Entry, nil) {
					return
				}
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt), errors.Is(err, errors.ErrUnsupported):
				s.log.WarnContext(ctx, "path left out", "narinfo", hashes[i]+narinfoSuffix, "err", err)
				err = nil
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(store.Entry{}, fmt.Errorf("list binary cache: %w", err))
		}
	}
}

// State implements store.Store. It tells of files that come and go, not of narinfo files edited in place.
func (s *Store) State(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return s.index.state()
}

// valid returns the narinfo of p, if p is valid.
func (s *Store) valid(ctx context.Context, p store.Path) (*narinfo, error) {
	n, err := s.narinfo(ctx, p.Hash())
	if err != nil {
		return nil, err
	}
	if n.object.Path != p {
		return nil, fmt.Errorf("the cache has %s: %w", n.object.Path, fs.ErrNotExist)
	}
	return n, nil
}

// narinfo returns the narinfo of a hash part, if it is there and signed.
func (s *Store) narinfo(ctx context.Context, hash string) (*narinfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !store.IsHash(hash) {
		return nil, fs.ErrNotExist
	}
	n, err := s.index.narinfo(hash, func(n *narinfo) bool { return len(s.keys) == 0 || n.signed(s.keys) })
	if err != nil {
		return nil, err
	}
	return n, nil
}
