package binarycache

import (
	"bufio"
	"container/list"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"nixreg/store"
)

const (
	maxKept     = 256 // idle archives, each an open file
	maxUnpacked = 4   // archives being unpacked at once
)

var errClosed = fmt.Errorf("binary cache: %w", fs.ErrClosed)

// archive is a verified NAR in a file that has no name any more, so that nothing is left of it whatever happens.
type archive struct {
	id    archiveID
	file  *os.File
	size  int64
	nodes []narNode // in the order of the archive

	uses int           // guarded by spool.mu
	idle *list.Element // in spool.idle; nil while in use
}

// archiveID holds the hash as well: a cache may get another build of the same path.
type archiveID struct {
	path store.Path
	hash store.Hash
}

// spool holds the archives in use and, up to a limit, those used last. Each is unpacked once, however many callers
// ask for it at the same time.
type spool struct {
	dir    string
	limit  int64
	unpack func(context.Context, *narinfo, io.Writer) error

	ctx     context.Context // of all unpacking: it belongs to no single caller; ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup
	slots   chan struct{}

	mu       sync.Mutex
	closed   bool
	archives map[archiveID]*archive
	flights  map[archiveID]*flight
	idle     list.List // of *archive, the one used last in front
	size     int64     // bytes of archives
}

// flight is an archive in the making.
type flight struct {
	done    chan struct{} // closed after archive and err are set
	waiting int           // callers; guarded by spool.mu
	archive *archive
	err     error
}

func newSpool(dir string, limit int64, unpack func(context.Context, *narinfo, io.Writer) error) *spool {
	s := &spool{
		dir:      dir,
		limit:    limit,
		unpack:   unpack,
		slots:    make(chan struct{}, maxUnpacked),
		archives: make(map[archiveID]*archive),
		flights:  make(map[archiveID]*flight),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// acquire returns the archive of n, which stays until release.
func (s *spool) acquire(ctx context.Context, n *narinfo) (*archive, error) {
	a, f, err := s.join(n)
	if a != nil || err != nil {
		return a, err
	}
	select {
	case <-f.done:
		return f.archive, f.err
	case <-ctx.Done():
		s.leave(f)
		return nil, ctx.Err()
	}
}

// join returns the archive of n if there is one, else the flight that makes it.
func (s *spool) join(n *narinfo) (*archive, *flight, error) {
	id := archiveID{n.object.Path, n.object.NarHash}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, errClosed
	}
	if a := s.archives[id]; a != nil {
		a.uses++
		s.wake(a)
		return a, nil, nil
	}
	f := s.flights[id]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flights[id] = f
		s.running.Go(func() { s.fly(id, f, n) })
	}
	f.waiting++
	return nil, f, nil
}

// leave is for a caller that no longer waits.
func (s *spool) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.done: // it has its share in the archive already
		if f.archive != nil {
			s.drop(f.archive)
		}
	default:
		f.waiting--
	}
}

func (s *spool) fly(id archiveID, f *flight, n *narinfo) {
	a, err := s.create(id, n)
	if err != nil && s.ctx.Err() != nil {
		err = errClosed // the callers' own contexts have not ended
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, id)
	f.archive, f.err = a, err
	close(f.done)
	if err != nil {
		return
	}
	s.archives[id] = a
	s.size += a.size
	a.uses = f.waiting + 1
	s.drop(a)
}

// create makes the archive of n; after an error nothing is left of it.
func (s *spool) create(id archiveID, n *narinfo) (*archive, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	file, err := tempFile(s.dir)
	if err != nil {
		return nil, err
	}
	a := &archive{id: id, file: file, size: n.object.NarSize}
	if err := a.fill(s.ctx, n, s.unpack); err != nil {
		file.Close()
		return nil, err
	}
	return a, nil
}

// tempFile makes a file without a name.
func tempFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "nixreg-nar-")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	return f, nil
}

// fill unpacks the archive of n and only then, when it is known to be the right one, looks at what is in it.
func (a *archive) fill(ctx context.Context, n *narinfo, unpack func(context.Context, *narinfo, io.Writer) error) error {
	w := bufio.NewWriterSize(a.file, 256<<10)
	if err := unpack(ctx, n, w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	r := contextReader{ctx, io.NewSectionReader(a.file, 0, a.size)}
	err := parseNAR(r, func(nd narNode) error {
		a.nodes = append(a.nodes, nd)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", n.url, err)
	}
	return nil
}

// release gives back what acquire gave.
func (s *spool) release(a *archive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a)
}

// drop ends one use of a; after the last one a is kept while there is room.
func (s *spool) drop(a *archive) {
	if a.uses--; a.uses == 0 {
		a.idle = s.idle.PushFront(a)
	}
	for s.idle.Len() > 0 && (s.closed || s.size > s.limit || s.idle.Len() > maxKept) {
		s.remove(s.idle.Back().Value.(*archive))
	}
}

func (s *spool) wake(a *archive) {
	if a.idle != nil {
		s.idle.Remove(a.idle)
		a.idle = nil
	}
}

func (s *spool) remove(a *archive) {
	s.wake(a)
	delete(s.archives, a.id)
	s.size -= a.size
	a.file.Close() // nothing of it is needed any more
}

// close waits until no archive is being made and removes the idle ones; those in use go when they are released.
func (s *spool) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.idle.Len() > 0 {
		s.remove(s.idle.Back().Value.(*archive))
	}
}
