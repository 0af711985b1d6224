package binarycache

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

const (
	defaultSpool = 256 << 20 // bytes
	maxFetching  = 16        // archives fetched at once
	maxQueued    = 1024      // fetches that wait for a slot, as long as some of them have no waiter
	maxWindows   = 512 << 20 // bytes of their decompressors' windows
	maxReading   = 4         // indexes of archives that are read at once
	maxIndexes   = 64 << 20  // bytes of memory of the indexes that are kept
	maxRefused   = 1 << 20   // bytes of memory of the errors about malformed archives
	refusedFor   = 10 * time.Minute
	// largeFor is the time for which an archive that is larger than the spool stays after its last use. One image needs the archive
	// several times: for its digests, and for each client.
	largeFor = 10 * time.Minute
)

// filler fetches, unpacks and verifies one archive, and writes it to w. If it returns nil, size and hash are right. It may be
// called on any goroutine. ctx is never the context of a caller that waits for the archive.
type filler func(ctx context.Context, w io.Writer) error

// archiveID identifies an archive. It has the hash as well, because a cache may later have another build of the same path.
type archiveID struct {
	path store.Path
	hash store.Hash
}

// wanted is an archive that can be fetched.
type wanted struct {
	id     archiveID
	size   int64 // bytes of the archive
	window int64 // bytes of the window of fill's decompressor; at most MaxWindow of package nar
	fill   filler
}

// SpoolOptions has the directory and the size of a spool. The zero value is valid.
type SpoolOptions struct {
	Dir  string       // created if absent; one process uses it at a time. Default: a new one in os.TempDir(), removed by Close
	Size int64        // bytes to keep; default 256 MiB, negative for none; archives in use, and one larger archive, may exceed it
	Log  *slog.Logger // gets the progress of long fetches, and damaged files; nil is silent
}

// archive is a verified NAR in use. Its file may be deleted from the directory already.
type archive struct {
	file  *diskcache.File
	hash  store.Hash
	index *nar.Index
}

// Spool is a directory of unpacked archives, which several Stores may share. It has the archives in use and, up to a limit, the
// archives used last. Each archive is one file, <hash part>-<NarHash in base 32>.nar. A file of an earlier process is used again
// after its bytes are compared with its NarHash. An archive is fetched once for all callers.
//
// At most 16 archives are fetched at the same time, and archives with a waiter come first (package flight). The windows of all
// decompressors together have at most 512 MiB. So of xz and zstd, at most 8 archives of more than 32 MiB are fetched at the same
// time, and 4 of more than 64 MiB.
//
// Safe for concurrent use.
type Spool struct {
	private string // the directory that Close removes; "" if it is the caller's
	files   *diskcache.Cache
	log     *slog.Logger

	fetching flight.Queue
	windows  flight.Queue // bytes
	reading  flight.Queue
	indexes  lru.Cache[string, indexed]
	refused  lru.Cache[string, refusal]
	report   progress

	ctx     context.Context // of the prefetches; ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	ahead   window
}

// refusal is the error about an archive that has the right hash and is malformed. Another fetch would give the same archive, so the
// error is kept.
type refusal struct {
	err   error
	until time.Time
}

const narSuffix = ".nar"

var spoolLayout = diskcache.Layout{Keys: "*" + narSuffix, Incomplete: "tmp-*", Sum: narHashOf}

// narName is the name of the file of an archive.
func narName(id archiveID) string {
	return id.path.Hash() + "-" + store.EncodeBase32(id.hash[:]) + narSuffix
}

// narHashOf returns the NarHash in a name that narName has made.
func narHashOf(name string) (sum [sha256.Size]byte, ok bool) {
	base, _ := strings.CutSuffix(name, narSuffix)
	part, hash, _ := strings.Cut(base, "-")
	h, err := store.DecodeBase32(hash)
	if err != nil || len(h) != len(sum) || !store.IsHash(part) || name != part+"-"+store.EncodeBase32(h)+narSuffix {
		return sum, false
	}
	return [sha256.Size]byte(h), true
}

// KeptArchives lists the files of a spool's directory, each with the SHA-256 that its bytes must have. The list of an absent
// directory is empty. No process may have the spool open.
func KeptArchives(dir string) (map[string][sha256.Size]byte, error) {
	return diskcache.List(dir, spoolLayout)
}

// OpenSpool opens the spool in opts.Dir and removes incomplete files of an earlier process. It reads no archive. The caller closes
// it, after the Stores that use it.
func OpenSpool(opts SpoolOptions) (*Spool, error) {
	s := &Spool{
		log:      cmp.Or(opts.Log, slog.New(slog.DiscardHandler)),
		fetching: flight.Queue{Running: maxFetching, Drop: true, Keep: maxQueued},
		windows:  flight.Queue{Running: maxWindows, Drop: true, Keep: maxQueued},
		reading:  flight.Queue{Running: maxReading},
		indexes:  lru.Cache[string, indexed]{Max: maxIndexes},
		refused:  lru.Cache[string, refusal]{Max: maxRefused},
		ahead:    window{items: make(map[string]*aheadItem), moved: make(chan struct{})},
	}
	dir := opts.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "nixreg-nar-"); err != nil {
			return nil, fmt.Errorf("open spool: %w", err)
		}
		s.private = dir
	}
	files, err := diskcache.New(diskcache.Options{
		Dir: dir, Layout: spoolLayout, Max: max(cmp.Or(opts.Size, defaultSpool), 0), Linger: largeFor, Log: s.log,
	})
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.files = files
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the fetches, waits for them, and keeps the files for the next process. Archives in use stay usable until they are
// released. A second Close does nothing.
func (s *Spool) Close() error {
	s.ahead.mu.Lock() // no prefetch begins from now on
	s.cancel()
	s.ahead.mu.Unlock()
	err := s.files.Close()
	s.running.Wait()
	if s.private != "" {
		err = errors.Join(err, os.RemoveAll(s.private))
	}
	return err
}

// acquire returns the archive of w, which stays until its file is closed. The first caller waits until the archive is fetched and
// verified. The fetch may continue after the end of ctx, by the rule of package flight for work without a waiter. If the archive
// does not have w.size bytes, or Nix would not write it so, the error matches [ErrCorrupt]. Errors of w.fill are returned
// unchanged. After Close the error matches [fs.ErrClosed].
func (s *Spool) acquire(ctx context.Context, w wanted) (*archive, error) {
	key := narName(w.id)
	if r, ok := s.refused.Get(key); ok && time.Now().Before(r.until) {
		return nil, r.err
	}
	for {
		f, err := s.files.Get(ctx, key, nil, s.fill(w))
		if err != nil {
			return nil, err
		}
		s.usedAhead(key)
		a := &archive{file: f, hash: w.id.hash}
		if err = f.Wait(ctx); err == nil && f.Size() != w.size {
			err = fmt.Errorf("%s: %w", w.id.path, corrupt("archive has %d bytes, not %d", f.Size(), w.size))
		}
		if err == nil {
			a.index, err = s.index(ctx, w.id, f)
		}
		if err == nil {
			return a, nil
		}
		f.Close()
		if !flight.Again(ctx, err) && !errors.Is(err, store.ErrChanged) {
			return nil, err
		}
	}
}

// fill waits for a slot, then fetches an archive.
func (s *Spool) fill(w wanted) diskcache.Filler {
	return func(ctx context.Context, f *diskcache.Fill) error {
		defer s.wake()
		release, err := s.fetching.Acquire(ctx)
		if err != nil {
			return err
		}
		defer release()
		free, err := s.windows.AcquireWeight(ctx, int(w.window))
		if err != nil {
			return err
		}
		defer free()
		if err := f.Announce(w.size); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		flight.Progress(ctx, func() string {
			const mb = 1e6
			return fmt.Sprintf("%.1f of %.1f MB of %s are fetched", float64(f.Written())/mb, float64(w.size)/mb, w.id.path.Name())
		})
		s.begun(f)
		buf := bufio.NewWriterSize(f, 256<<10)
		if err = w.fill(ctx, buf); err == nil {
			err = buf.Flush()
		}
		s.ended(f, err)
		switch {
		case errors.Is(err, diskcache.ErrSize):
			return fmt.Errorf("%s: %w", w.id.path, corrupt("archive is larger than %d bytes", w.size))
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			return fmt.Errorf("spool: %s: archive of %s needs %d bytes, the disk is full after %d: %w",
				s.files.Dir, w.id.path, w.size, f.Written(), err)
		case err == nil && f.Written() != w.size:
			return fmt.Errorf("%s: %w", w.id.path, corrupt("archive has %d bytes, not %d", f.Written(), w.size))
		}
		return err
	}
}

// indexed is the index of an archive, and the state of the file from which it was read.
type indexed struct {
	state filestamp.Stamp
	index *nar.Index
}

// index returns the index of the archive in f.
func (s *Spool) index(ctx context.Context, id archiveID, f *diskcache.File) (*nar.Index, error) {
	key := narName(id)
	if x, ok := s.indexes.Get(key); ok && x.state == f.Stamp() {
		return x.index, nil
	}
	release, err := s.reading.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if x, ok := s.indexes.Get(key); ok && x.state == f.Stamp() { // another caller has read it
		return x.index, nil
	}
	index, err := nar.ReadIndex(contextFile{ctx, io.NewSectionReader(f, 0, f.Size())})
	if changed := f.Unchanged(); changed != nil {
		return nil, fmt.Errorf("spooled archive: %w: %w", changed, store.ErrChanged)
	}
	if errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%s: %w", id.path, err)
		s.refused.Put(key, refusal{err, time.Now().Add(refusedFor)}, int64(len(key)+len(err.Error())))
		s.log.Warn("spool: archive is malformed", "file", s.files.Path(key), "err", err)
		s.files.Remove(key)
	}
	if err != nil {
		return nil, err
	}
	s.indexes.Put(key, indexed{f.Stamp(), index}, index.Memory())
	return index, nil
}

// contextFile is a contextReader that can seek.
type contextFile struct {
	ctx context.Context
	io.ReadSeeker
}

func (c contextFile) Read(b []byte) (int, error) { return contextReader{c.ctx, c.ReadSeeker}.Read(b) }
