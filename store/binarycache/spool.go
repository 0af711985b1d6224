package binarycache

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

const defaultSpool = 256 << 20 // bytes

var errClosed = fmt.Errorf("binary cache: %w", fs.ErrClosed)

// filler fetches, unpacks and verifies one archive while it writes it to w: it has seen the right size and the right
// hash when it returns nil. It may be called on any goroutine; ctx is never that of somebody who waits for it.
type filler func(ctx context.Context, w io.Writer) error

// archiveID holds the hash as well: a cache may get another build of the same path.
type archiveID struct {
	path store.Path
	hash store.Hash
}

// wanted is an archive that can be had.
type wanted struct {
	id     archiveID
	size   int64 // bytes of the archive
	window int64 // bytes that fill may take to look back at; at most MaxWindow of package nar
	fill   filler
}

// SpoolOptions says where a spool lies and how large it is. The zero value is good.
type SpoolOptions struct {
	Dir  string       // made where absent; one process uses it at a time. Default: a new one in os.TempDir(), removed by Close
	Size int64        // bytes of unpacked archives to keep; default 256 MiB, negative for none; those in use, and one that is larger alone, may exceed it
	Log  *slog.Logger // gets the progress of long fetches, and what was found damaged; nil is silence
}

// Spool is a folder of unpacked archives, which several Stores may share: those in use and, up to a limit, those used
// last. Each archive is one file, <hash part>-<NarHash in base 32>.nar, which gets that name when it is verified. Files
// that an earlier process left are used again, but each is read once and compared with its NarHash before. An archive is
// fetched once, however many ask for it at the same time.
//
// At most 16 archives are fetched at the same time, those that somebody waits for first (package flight), and no more than that the windows of their decompressors have 512 MiB at
// worst: of xz and zstd at most 8 archives of more than 32 MiB, and 4 of more than 64 MiB.
//
// Safe for concurrent use.
type Spool struct {
	dir     string
	private bool  // dir is removed by Close
	limit   int64 // bytes
	log     *slog.Logger
	write   func(f *os.File, b []byte) (int, error) // (*os.File).Write, but for tests

	ctx     context.Context // of all fetching: it belongs to no single caller; ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	buffers sync.Pool    // of *[smallRange]byte
	fetched atomic.Int64 // bytes, for the log

	mu       sync.Mutex
	closed   bool
	files    map[narKey]*spoolFile
	lru      list.List // of *spoolFile, those that nobody needs now; the one used last in front
	large    largeFile
	size     int64 // bytes of files and of what is being fetched; without those above the limit
	flights  map[narKey]*narFlight
	fetching flightSlots
	reading  flightSlots
	interest chan struct{} // has one when the flights are to be looked at
	refused  refusals

	idle       list.List // of *archive: open, but not in use; the one used last in front
	idleMemory int64     // bytes

	ahead  aheadWindow
	report progress
}

// OpenSpool opens the spool in opts.Dir and removes what an earlier process did not bring to its end. No file is read
// yet. The caller closes it, after the Stores that use it.
func OpenSpool(opts SpoolOptions) (*Spool, error) {
	s := &Spool{
		dir:      opts.Dir,
		limit:    max(opts.Size, 0),
		log:      opts.Log,
		write:    (*os.File).Write,
		files:    make(map[narKey]*spoolFile),
		flights:  make(map[narKey]*narFlight),
		fetching: flightSlots{free: maxFetching, memory: maxWindows},
		reading:  flightSlots{free: maxReading},
		interest: make(chan struct{}, 1),
		refused:  make(refusals),
		ahead:    aheadWindow{moved: make(chan struct{})},
	}
	if opts.Size == 0 {
		s.limit = defaultSpool
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.buffers.New = func() any { return new([smallRange]byte) }
	if err := s.openDir(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(s.watchInterest)
	return s, nil
}

// acquire returns the archive of w, which stays until release; its first use waits until it is fetched and verified.
// That goes on if ctx ends before, so that the next caller finds it done, unless its slot is wanted by a fetch that
// somebody waits for, or nobody asks again for [flight.Linger]. An archive that has not size bytes, or that no
// Nix would write, gives an error matching [ErrCorrupt]; errors of fill are returned as they are.
func (s *Spool) acquire(ctx context.Context, w wanted) (*archive, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		a, f, err := s.join(ctx, w)
		if a != nil || err != nil {
			return a, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			s.leave(ctx, f)
			return nil, ctx.Err()
		}
		if !flight.Again(ctx, f.err) {
			return f.archive, f.err
		}
	}
}

// join returns the archive if it is open, else the flight that makes it.
func (s *Spool) join(ctx context.Context, w wanted) (*archive, *narFlight, error) {
	key := keyOf(w.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, errClosed
	}
	if err := s.refused.find(key, time.Now()); err != nil {
		return nil, nil, err
	}
	if a, err := s.opened(key, w); a != nil || err != nil {
		return a, nil, err
	}
	f, there := s.flights[key]
	if !there {
		f = s.newFlight(key, w)
	}
	f.waiting++
	f.job.Enter(ctx)
	if !there {
		s.begin(f)
	}
	if p := f.ahead; p != nil {
		s.wasUsed(&f.ahead, f.want.size)
		f.job.Leave(p.ctx)
	}
	return nil, f, nil
}

// opened returns the archive of key if it is open and still what was verified.
func (s *Spool) opened(key narKey, w wanted) (*archive, error) {
	e := s.files[key]
	if e == nil || e.open == nil {
		return nil, nil
	}
	a := e.open
	if e.size != w.size {
		return nil, fmt.Errorf("%s: %w", w.id.path, corrupt("archive has %d bytes, not %d", e.size, w.size))
	}
	if how := a.changed(a.uses == 0); how != "" {
		s.spoiled(e, how)
		return nil, nil
	}
	s.use(a, 1)
	return a, nil
}

// Close ends what is being fetched, waits for that, and keeps the files for the next process. Archives in use stay
// usable until they are released.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.failQueued()
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.large.file; e != nil {
		s.discard(e)
	}
	for s.idle.Len() > 0 {
		s.shut(s.idle.Back().Value.(*archive))
	}
	if s.private {
		return os.RemoveAll(s.dir)
	}
	return s.saveOrder()
}
