// Package binarycache reads a Nix binary cache: a directory or server with a narinfo file and a compressed archive (NAR) for each
// store path. It is a [store.Store] over the layout of `nix copy --to file://…`:
//
//	nix-cache-info
//	<hash>.narinfo
//	nar/<file hash>.nar.xz
//
// in a directory ([Options].FS) or on a server ([Options].Remote). The package owns narinfo files, signatures and content
// addresses, the memory of a remote cache, and the [Spool] of decompressed archives. An archive is fetched whole and verified
// before its first byte is used. The package must not know OCI or HTTP.
//
// A path is valid if one of Options.Keys has signed its narinfo, if it is content-addressed (its hash part follows from the
// narinfo's CA; its content is compared with the CA as well), or if Options.Trusted is set. A signature covers path, NarHash,
// NarSize and References. It does not cover Deriver and URL, so a URL must lie inside the cache.
//
// A narinfo of a Remote is kept for 24 hours, in memory and in Options.Records, and longer while the cache cannot be asked. An
// absent one is in a negative cache for a minute. If a narinfo cannot be fetched but nix-cache-info can be read, only that path
// is affected; this check is made at most once in five seconds. Otherwise a circuit breaker opens for the whole cache, with a
// backoff from five seconds to two minutes. A path does not count as absent because its cache is down.
//
//	s, err := binarycache.Open(binarycache.Options{FS: os.DirFS("/srv/cache"), Keys: keys})
//	defer s.Close()
package binarycache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"sync"

	"github.com/nixreg/nixreg/store"
)

// Options are the arguments of [Open].
type Options struct {
	FS     fs.FS   // a cache on disk or in the program; one whose root has no modification time, such as an embed.FS, never changes
	Remote Fetcher // a cache on a server; exactly one of FS and Remote is set

	Name string // of the cache, for messages and the keys of Records: "https://cache.nixos.org", without credentials

	Keys    []PublicKey // their signatures make paths valid; without keys, only content-addressed paths are valid
	Trusted bool        // every path is valid: only for a cache that is trusted itself, such as an embedded one

	Spool   *Spool  // of decompressed archives, maybe shared with other Stores; nil: one of its own in os.TempDir()
	Records Records // remembers the narinfo files of a Remote beyond the process; may be nil
	MaxNAR  int64   // largest size of an unpacked archive, in bytes; default 16 GiB

	Log *slog.Logger // of paths that List leaves out; nil is silent
}

// Store is a store.Store, store.Distant and store.Prefetcher over a binary cache. Safe for concurrent use.
type Store struct {
	maxNAR  int64
	log     *slog.Logger
	index   index
	source  opener
	distant bool
	trust   *trust
	spool   *Spool
	closes  []func() error

	otherFile sync.Once // the warning about files that are not those of their narinfos
}

// Open returns the store in opts.FS or opts.Remote; the caller closes it. An FS with another store directory gives an error
// matching [errors.ErrUnsupported], one without nix-cache-info one matching [fs.ErrNotExist]. A Remote is first asked when the
// store is used.
func Open(opts Options) (*Store, error) {
	if (opts.FS == nil) == (opts.Remote == nil) {
		return nil, fmt.Errorf("open binary cache: exactly one of FS and Remote is needed: %w", fs.ErrInvalid)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{maxNAR: cmp.Or(opts.MaxNAR, 16<<30), log: opts.Log, spool: opts.Spool}
	if err := s.open(opts); err != nil {
		return nil, fmt.Errorf("open binary cache %s: %w", opts.Name, err)
	}
	if s.spool == nil {
		spool, err := OpenSpool(SpoolOptions{Log: opts.Log})
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("open binary cache %s: %w", opts.Name, err)
		}
		s.spool = spool
		s.closes = append(s.closes, spool.Close)
	}
	return s, nil
}

func (s *Store) open(opts Options) error {
	s.trust = &trust{all: opts.Trusted, keys: slices.Clone(opts.Keys), name: opts.Name, log: opts.Log}
	s.trust.unsigned.Max = unsignedBytes
	if opts.Remote != nil {
		x := newRemote(opts.Remote, s.trust, opts.Records)
		s.closes = append(s.closes, x.close)
		s.index, s.source, s.distant = x, x, true
		return nil
	}
	text, _, err := readSmall(opts.FS, cacheInfoName)
	if err == nil {
		err = checkCacheInfo(text)
	}
	if err != nil {
		return err
	}
	root, err := fs.Stat(opts.FS, ".")
	if err != nil {
		return err
	}
	s.index, s.source, s.distant = newFiles(opts.FS, s.trust), dir{opts.FS}, !root.ModTime().IsZero()
	return nil
}

// Close ends the requests of the store, and closes the spool that Open made. Open trees stay usable until they are closed.
func (s *Store) Close() error {
	var errs []error
	for _, close := range s.closes {
		errs = append(errs, close())
	}
	return errors.Join(errs...)
}

// Distant implements store.Distant: archives on disk must be decompressed, too.
func (s *Store) Distant() bool { return s.distant }

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

// Open implements store.Store. The first Open of a path waits until the archive is fetched, decompressed and verified. That work
// goes on after the end of ctx. An archive that differs from its narinfo gives an error matching [ErrCorrupt], an archive larger
// than Options.MaxNAR an error matching [store.ErrTooLarge].
func (s *Store) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	n, err := s.valid(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	a, err := s.spool.acquire(ctx, s.wanted(n))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return newTree(p, a), nil
}

// Prefetch implements store.Prefetcher. It skips paths that are not valid here.
func (s *Store) Prefetch(ctx context.Context, paths []store.Path) {
	paths = slices.Clone(paths)
	s.spool.prefetch(ctx, func(yield func(wanted) bool) {
		for _, p := range paths {
			n, err := s.valid(ctx, p)
			if ctx.Err() != nil || err == nil && !yield(s.wanted(n)) {
				return
			}
		}
	})
}

func (s *Store) wanted(n *narinfo) wanted {
	return wanted{
		id:     archiveID{n.object.Path, n.object.NarHash},
		size:   n.object.NarSize,
		window: n.compression.Window(n.object.NarSize),
		fill:   func(ctx context.Context, w io.Writer) error { return s.unpack(ctx, n, w) },
	}
}

// List implements store.Store, in the order of the hash parts. It leaves out narinfo files that cannot be used or read, and logs
// a line for each. It leaves out paths that no trusted key has signed, and logs one line with their number. If permissions forbid
// every narinfo, that is an error.
func (s *Store) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		var denied error
		var unsigned *unsignedError
		listed, refused := 0, 0
		defer func() { s.trust.report(refused, unsigned) }()
		hashes, err := s.index.hashes()
		for i := 0; i < len(hashes) && err == nil; i++ {
			var n *narinfo
			n, err = s.index.narinfo(ctx, hashes[i])
			switch {
			case errors.As(err, &unsigned):
				refused++
				err = ctx.Err()
			case err == nil:
				listed++
				if !yield(n.object.Entry, nil) {
					return
				}
			case errors.Is(err, fs.ErrPermission):
				denied = err
				fallthrough
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt), errors.Is(err, errors.ErrUnsupported):
				s.log.WarnContext(ctx, "path left out", "narinfo", hashes[i]+narinfoSuffix, "err", err)
				err = nil
			}
		}
		if err == nil && listed == 0 {
			err = denied
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(store.Entry{}, fmt.Errorf("list binary cache: %w", err))
		}
	}
}

// State implements store.Store. For an FS it changes when narinfo files are added or removed, not when they are edited. For a
// Remote it changes with each answer that differs from the one before, and every hour.
func (s *Store) State(ctx context.Context) (string, error) { return s.index.state(ctx) }

// valid returns the narinfo of p, if p is valid.
func (s *Store) valid(ctx context.Context, p store.Path) (*narinfo, error) {
	n, err := s.narinfo(ctx, p.Hash())
	if err != nil {
		return nil, err
	}
	if n.object.Path != p {
		return nil, fmt.Errorf("the cache has %s: %w", n.object.Path, store.ErrExplained)
	}
	return n, nil
}

// narinfo returns the narinfo of a hash part, if its path is valid.
func (s *Store) narinfo(ctx context.Context, hash string) (*narinfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !store.IsHash(hash) {
		return nil, fs.ErrNotExist
	}
	n, err := s.index.narinfo(ctx, hash)
	if unsigned := (*unsignedError)(nil); errors.As(err, &unsigned) {
		s.trust.report(1, unsigned)
	}
	return n, err
}

// Refused implements store.Refuser.
func (s *Store) Refused(match func(store.Path) bool) (err error) {
	s.trust.unsigned.Each(func(p store.Path, e *unsignedError) {
		if err == nil && match(p) {
			err = e
		}
	})
	return err
}
