package digests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/nixreg/nixreg/internal/lru"
)

const (
	maxKey = 4 << 10 // bytes

	maxGeneration = 1 << 29  // bytes on disk; there are two generations
	nearBytes     = 16 << 20 // of the records that are kept in memory as well

	collectEvery   = 10 * time.Minute
	collectDiscard = 0.5 // a value log file is rewritten when half of it is garbage
)

// Badger is a [Cache] in directories, within about 1 GiB on disk and 16 MiB of records in memory. One process at a time has it
// open. A kill loses no record that Put returned for, a power cut may lose the latest ones. Safe for concurrent use.
//
// The records lie in two generations, each a database. New records, and those of the old generation that are used, are written to
// the young one. When it is full, it becomes the old one, and the database that was the old one is deleted: with the records that
// were not used during a whole generation. So no record is deleted that was just used, and space is freed on a full disk, too.
type Badger struct {
	dir   string
	log   *slog.Logger
	most  int64 // bytes of a generation on disk
	spare int64 // bytes that must be free for a write
	stop  context.CancelFunc
	bg    sync.WaitGroup

	near lru.Cache[string, nearRecord] // the records that were used last; those that the disk refused are here alone

	mu         sync.RWMutex // held for reading while a database is in use: badger maps its files, and Close unmaps them
	young, old *generation  // old is nil while there is one generation
	closed     bool

	panicked atomic.Bool // badger did in a read, and may hold a lock for ever
	failing  atomic.Bool // the last write failed; it is logged once
}

// nearRecord is a record in memory.
type nearRecord struct {
	value      []byte
	generation int // the youngest one that has it; nowhere if none is known to
}

const nowhere = -1

// generation is one database.
type generation struct {
	*badger.DB
	number int
	bytes  atomic.Int64 // on disk when it was measured, and what was written since
}

// OpenBadger opens the cache in dir and its siblings <dir>-<n>, and makes dir (mode 0700) if there is none. A damaged directory is
// renamed to <name>.damaged-<n>, of which the newest three are kept, and an empty one takes its place; one warning says so. Errors
// that are not about damage leave the directory alone: another process has it open, it may not be written, the disk is full. A
// nil log is silent. The caller closes the Badger.
func OpenBadger(dir string, log *slog.Logger) (*Badger, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &Badger{dir: dir, log: log, most: maxGeneration, spare: spareSpace, stop: stop}
	b.near.Max = nearBytes
	if err := b.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open digest cache %s: %w", dir, err), b.Close())
	}
	b.bg.Go(func() { b.collect(ctx, time.NewTicker(collectEvery)) })
	return b, nil
}

// open opens the newest two generations. Others were about to be deleted when a process ended.
func (b *Badger) open() error {
	numbers, err := b.generations()
	if err != nil {
		return err
	}
	for ; len(numbers) > 2; numbers = numbers[1:] {
		b.remove(numbers[0])
	}
	if b.young, err = b.openGeneration(numbers[len(numbers)-1]); err == nil && len(numbers) == 2 {
		b.old, err = b.openGeneration(numbers[0])
	}
	return err
}

// generations returns the numbers of the generations, sorted: 0 alone if there is none yet.
func (b *Badger) generations() ([]int, error) {
	numbers, err := numbered(b.name(0) + "-")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Lstat(b.dir); err == nil || len(numbers) == 0 {
		numbers = slices.Insert(numbers, 0, 0)
	}
	return numbers, nil
}

// name is the directory of a generation. That of number 0 has no number: earlier versions knew no other.
func (b *Badger) name(number int) string {
	if number == 0 {
		return filepath.Clean(b.dir)
	}
	return fmt.Sprintf("%s-%d", filepath.Clean(b.dir), number)
}

func (b *Badger) openGeneration(number int) (*generation, error) {
	db, err := openOrSetAside(b.name(number), b.log)
	if err != nil {
		return nil, err
	}
	g := &generation{DB: db, number: number}
	g.measure()
	return g, nil
}

// remove deletes the directory of a generation.
func (b *Badger) remove(number int) {
	if err := removeDB(b.name(number)); err != nil {
		b.log.Warn("evicted digests stay on disk until the next start", "error", err)
	}
}

// Get implements [Cache].
func (b *Badger) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get record %.200q: %w", key, err)
	}
	value, from, err := b.find(key)
	if err != nil {
		return nil, fmt.Errorf("get record %.200q: %w", key, err)
	}
	if from == nowhere {
		to, err := b.write(key, value, false) // so that it outlives the old generation
		b.report(err)
		b.keepNear(key, value, to)
	}
	return slices.Clone(value), nil
}

// find returns a record and the number of the young generation, or nowhere if it is not known to be in that one.
func (b *Badger) find(key string) (value []byte, from int, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, nowhere, fs.ErrClosed
	}
	if r, ok := b.near.Get(key); ok && r.generation == b.young.number {
		return r.value, r.generation, nil
	} else if ok {
		return r.value, nowhere, nil
	}
	if value, err = b.read(b.young, key); err == nil {
		b.keepNear(key, value, b.young.number)
		return value, b.young.number, nil
	}
	if b.old != nil {
		value, err = b.read(b.old, key)
	}
	if err != nil { // its owner can make a record anew, whatever keeps it from being read
		err = fmt.Errorf("%v: %w", err, fs.ErrNotExist)
	}
	return value, nowhere, err
}

// keepNear keeps a record in memory. Nobody changes value any more.
func (b *Badger) keepNear(key string, value []byte, generation int) {
	b.near.Put(key, nearRecord{value, generation}, int64(len(key)+len(value)))
}

// read is called with mu held.
func (b *Badger) read(g *generation, key string) (value []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.panicked.Store(true)
			value, err = nil, fmt.Errorf("read panicked: %v", r)
		}
	}()
	err = g.View(func(txn *badger.Txn) error {
		item, err := txn.Get(recordKey(key))
		if err != nil {
			return err
		}
		sealed, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		value, err = unseal(key, sealed)
		return err
	})
	return value, err
}

// Put implements [Cache]. A record that the disk does not take, because it is full, say, is kept in memory alone: what can be
// served must not depend on the disk. The log says so once. A key above 4 KiB or a value above 32 MiB gives an error matching
// [fs.ErrInvalid].
func (b *Badger) Put(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	if len(key) > maxKey || len(value) > maxValue {
		return fmt.Errorf("put record %.200q: key of %d bytes, value of %d: too large: %w", key, len(key), len(value), fs.ErrInvalid)
	}
	to, err := b.write(key, value, true)
	if errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	b.report(err)
	b.keepNear(key, append(make([]byte, 0, len(value)), value...), to)
	return nil
}

// report logs the first failure of a write after a success, and the other way round.
func (b *Badger) report(err error) {
	switch failing := err != nil; {
	case b.failing.Swap(failing) == failing:
	case failing:
		b.log.Error("digests cannot be remembered on disk; images are served all the same", "error", err)
	default:
		b.log.Info("digests are remembered on disk again")
	}
}

// write writes a record to the young generation, of which it returns the number, or nowhere and an error. If the generation is
// full, write begins a new one. Without replace, a record that is there stays. If the disk has little free space, the error
// matches [syscall.ENOSPC].
func (b *Badger) write(key string, value []byte, replace bool) (to int, err error) {
	for {
		to, full, err := b.writeYoung(key, value, replace)
		if err == nil && full {
			err = b.rotate()
		}
		if err != nil {
			return nowhere, err
		}
		if !full {
			return to, nil
		}
	}
}

func (b *Badger) writeYoung(key string, value []byte, replace bool) (to int, full bool, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nowhere, false, fs.ErrClosed
	}
	if err := checkSpace(b.young.Opts().Dir, b.spare); err != nil {
		return nowhere, false, err
	}
	if b.full() {
		return nowhere, true, nil
	}
	err = b.young.Update(func(txn *badger.Txn) error {
		if !replace {
			if _, err := txn.Get(recordKey(key)); !errors.Is(err, badger.ErrKeyNotFound) {
				return err
			}
		}
		return txn.Set(recordKey(key), seal(key, value))
	})
	if errors.Is(err, badger.ErrConflict) && !replace { // another one was put meanwhile
		err = nil
	}
	b.young.bytes.Add(int64(len(key) + len(value)))
	return b.young.number, false, err
}

// full reports whether the young generation is. mu is held. Its files are measured only when as much was written as may be there:
// replaced records do not count.
func (b *Badger) full() bool {
	if b.young.bytes.Load() >= b.most {
		b.young.measure()
	}
	return b.young.bytes.Load() >= b.most
}

// rotate begins a new generation and deletes the old one.
func (b *Badger) rotate() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !b.full() { // another write has been here
		return nil
	}
	if b.panicked.Load() {
		return errors.New("digest cache is full, and cannot be changed after a damaged record made badger panic")
	}
	next, err := b.openGeneration(b.young.number + 1)
	if err != nil {
		return err
	}
	evicted := b.old
	b.old, b.young = b.young, next
	if evicted == nil {
		return nil
	}
	b.log.Info("digest cache evicts records that were not used lately", "dir", evicted.Opts().Dir, "bytes", evicted.bytes.Load())
	if err := evicted.Close(); err != nil {
		b.log.Warn("evicted digests cannot be closed", "error", err)
	}
	b.remove(evicted.number)
	return nil
}

// measure counts the bytes on disk of the generation's files. They are mapped, and longer than what was written to them.
func (g *generation) measure() {
	entries, err := os.ReadDir(g.Opts().Dir)
	if err != nil {
		return // what was counted stays
	}
	var n int64
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue // badger has deleted it
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
	}
	g.bytes.Store(n)
}

// Close ends the background work and writes out what is in memory. Later calls of Get and Put give an error matching
// [fs.ErrClosed]; closing again does nothing.
func (b *Badger) Close() error {
	b.stop()
	b.bg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.panicked.Load() {
		return errors.New("close digest cache: left as it is, after a damaged record made badger panic")
	}
	for _, g := range []*generation{b.young, b.old} {
		if g == nil {
			continue
		}
		if err := g.Close(); err != nil {
			return fmt.Errorf("close digest cache: %w", err)
		}
	}
	return nil
}

// collect gives back the space of replaced records until ctx ends.
func (b *Badger) collect(ctx context.Context, tick *time.Ticker) {
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for ctx.Err() == nil && b.collectOne() {
			}
		}
	}
}

// collectOne rewrites one file of the young generation, and reports whether it was worth it.
func (b *Badger) collectOne() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return checkSpace(b.young.Opts().Dir, b.spare) == nil && b.young.RunValueLogGC(collectDiscard) == nil
}
