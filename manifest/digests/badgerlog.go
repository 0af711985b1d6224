package digests

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// badgerLog brings badger's messages to slog, all at debug level but the first error of each sort: badger repeats
// some for every read, and every retry. While a directory is being opened errors too are at debug level, for
// OpenBadger itself says how that ended.
type badgerLog struct {
	log    *slog.Logger
	opened atomic.Bool
	warned sync.Map // format strings
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
