package digests

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	maxValue  = 32 << 20 // bytes of a record
	maxLevels = 7
)

// badgerOptions keep badger at a few MB, where its defaults take above a hundred. Blocks are not compressed, so they are read from
// the page cache and need no cache of their own.
//
// MemTableSize must not become smaller: badger ends the process when it replays a larger log of an earlier process. Change it only
// together with the directory's name.
func badgerOptions(dir string, log *badgerLog) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = log
	o.MetricsEnabled = false
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

// badgerLog writes badger's messages to slog, at debug level. The first error of each kind is a warning; badger repeats some for
// every read. Errors while a directory is being opened stay at debug level: OpenBadger says how that ended.
type badgerLog struct {
	log    *slog.Logger
	opened atomic.Bool
	warned sync.Map // format strings, of which badger has a fixed number
}

func (l *badgerLog) Errorf(format string, args ...any) {
	if l.opened.Load() {
		if _, again := l.warned.LoadOrStore(format, true); !again {
			l.log.Warn("digest cache: " + message(format, args))
			return
		}
	}
	l.Debugf(format, args...)
}

func (l *badgerLog) Warningf(format string, args ...any) { l.Debugf(format, args...) }

func (l *badgerLog) Infof(format string, args ...any) { l.Debugf(format, args...) }

func (l *badgerLog) Debugf(format string, args ...any) {
	l.log.Debug("digest cache: " + message(format, args))
}

func message(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf("%.500s", fmt.Sprintf(format, args...)))
}
