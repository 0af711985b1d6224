package digests

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	maxKey       = 4 << 10  // bytes
	maxValue     = 32 << 20 // bytes
	maxDirectory = 1 << 30  // bytes of records above which a directory is emptied
	maxLevels    = 7

	collectEvery   = 10 * time.Minute
	collectDiscard = 0.5 // rewrite a value log file when at least half of it is garbage
)

// Badger is a [Cache] in a directory, embedded: one process at a time. A power cut may lose the latest records,
// a kill loses none that Put returned for. Safe for concurrent use.
type Badger struct {
	db   *badger.DB
	stop context.CancelFunc
	bg   sync.WaitGroup
	log  *slog.Logger

	spare int64 // bytes that must be free for a Put

	mu     sync.RWMutex // held for reading while db is in use: its files are mapped, and Close unmaps them
	closed bool

	panicked atomic.Bool // in a read, which may have left a lock held
}

// OpenBadger opens the cache in dir, which it makes (mode 0700) where it is absent. A damaged directory is renamed
// to <dir>.damaged-<n>, of which the newest three are kept, and a fresh one begun; one warning says so. What is not
// damage is an error and leaves dir alone: another process has it open, it may not be written, the disk is full.
// A nil log is silent. The caller closes the Badger.
func OpenBadger(dir string, log *slog.Logger) (*Badger, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	db, err := openOrSetAside(dir, log)
	if err != nil {
		return nil, fmt.Errorf("open digest cache %s: %w", dir, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &Badger{db: db, stop: stop, log: log, spare: spareSpace}
	if err := b.bound(maxDirectory); err != nil {
		return nil, errors.Join(fmt.Errorf("empty digest cache %s: %w", dir, err), b.Close())
	}
	b.bg.Go(func() { b.collect(ctx, time.NewTicker(collectEvery)) })
	return b, nil
}

// badgerOptions keep badger at a few MB where its defaults hold above a hundred: blocks are not compressed, so they
// are read from the page cache and need no cache of their own.
//
// A smaller MemTableSize than that of an existing directory cannot replay its write-ahead log (badger ends the
// process): change it only together with the directory's name.
func badgerOptions(dir string, log *badgerLog) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = log
	o.MetricsEnabled = false
	o.DetectConflicts = false
	o.NumGoroutines = 1
	o.NumMemtables = 2
	o.NumCompactors = 2
	o.MaxLevels = maxLevels
	o.MemTableSize = 4 << 20
	o.ValueThreshold = 2 << 10
	o.ValueLogFileSize = 2 * maxValue
	o.Compression = options.None
	o.BlockCacheSize = 0
	o.IndexCacheSize = 0
	o.ChecksumVerificationMode = options.OnBlockRead
	o.VerifyValueChecksum = true // before badger believes the lengths in an entry
	return o
}

// Get implements [Cache].
func (b *Badger) Get(ctx context.Context, key string) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get record %.200q: %w", key, err)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, fmt.Errorf("get record %.200q: %w", key, fs.ErrClosed)
	}
	value, err = b.read(key)
	if err != nil {
		// Whatever keeps a record from being read, its owner can make it anew.
		return nil, fmt.Errorf("get record %.200q: %v: %w", key, err, fs.ErrNotExist)
	}
	return value, nil
}

func (b *Badger) read(key string) (value []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.panicked.Store(true)
			value, err = nil, fmt.Errorf("read panicked: %v", r)
		}
	}()
	err = b.db.View(func(txn *badger.Txn) error {
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

// Put implements [Cache]. Where the disk has little space left, nothing is written, and the error matches
// syscall.ENOSPC. A key above 4 KiB or a value above 32 MiB gives an error matching [fs.ErrInvalid].
func (b *Badger) Put(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	if len(key) > maxKey || len(value) > maxValue {
		return fmt.Errorf("put record %.200q: key of %d bytes, value of %d: too large: %w", key, len(key), len(value), fs.ErrInvalid)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return fmt.Errorf("put record %.200q: %w", key, fs.ErrClosed)
	}
	err := checkSpace(b.db.Opts().Dir, b.spare)
	if err != nil {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	err = b.db.Update(func(txn *badger.Txn) error { return txn.Set(recordKey(key), seal(key, value)) })
	if err != nil {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	return nil
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
	if err := b.db.Close(); err != nil {
		return fmt.Errorf("close digest cache: %w", err)
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
			// One file at a time; badger says ErrNoRewrite when nothing is worth it.
			for ctx.Err() == nil && b.db.RunValueLogGC(collectDiscard) == nil {
			}
			if err := b.bound(maxDirectory); err != nil {
				b.log.Error("digest cache cannot be emptied", "error", err)
			}
		}
	}
}

// bound empties a cache of more than most bytes. Which records are still of use nobody knows; all can be made again.
func (b *Badger) bound(most int64) error {
	lsm, vlog := b.db.Size()
	if lsm+vlog <= most {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log.Info("digest cache is emptied: it has grown too large", "bytes", lsm+vlog)
	return b.db.DropAll()
}

// recordKey keeps records apart from badger's own "!badger!" keys, and an empty key legal.
func recordKey(key string) []byte { return append([]byte{'r'}, key...) }

const (
	sealVersion = 1
	sealLen     = 1 + 16 // version, checksum
)

// seal puts a checksum of key and value before the value, so that a record which badger takes from the wrong place
// or the wrong file is known for wrong.
func seal(key string, value []byte) []byte {
	sum := recordSum(key, value)
	b := make([]byte, 0, sealLen+len(value))
	b = append(b, sealVersion)
	b = append(b, sum[:]...)
	return append(b, value...)
}

func unseal(key string, b []byte) ([]byte, error) {
	if len(b) < sealLen || b[0] != sealVersion {
		return nil, errors.New("damaged: no seal")
	}
	value := b[sealLen:]
	if recordSum(key, value) != [16]byte(b[1:sealLen]) {
		return nil, errors.New("damaged: wrong checksum")
	}
	return value, nil
}

func recordSum(key string, value []byte) (sum [16]byte) {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(key))))
	h.Write([]byte(key))
	h.Write(value)
	copy(sum[:], h.Sum(nil))
	return sum
}
