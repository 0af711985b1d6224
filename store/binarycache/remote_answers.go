package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// maxMissing is how many hash parts without a usable narinfo are remembered.
const maxMissing = 100_000

// Records keeps small values beyond the process. A key that is not there gives an error matching [fs.ErrNotExist]; values
// may get lost. Safe for concurrent use.
type Records interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
}

// answer is what a cache said of a hash part: a narinfo of a valid path, or an error. It does not change.
type answer struct {
	info  *narinfo // nil if there is none of use
	err   error
	text  string // of info
	got   time.Time
	until time.Time // when it is to be asked again; it is kept beyond to compare the next one with
}

// again is the same answer, to be asked for again at another time.
func (a *answer) again(until time.Time) *answer {
	later := *a
	later.until = until
	return &later
}

// answers are those of one cache. Both kinds have a bound; beyond, any one is dropped: asking again is cheap.
type answers struct {
	found   map[string]*answer // by hash part
	missing map[string]*answer
	size    int64 // bytes of the texts in found
}

func newAnswers() answers {
	return answers{found: make(map[string]*answer), missing: make(map[string]*answer)}
}

// get returns nil if there is none.
func (m *answers) get(hash string) *answer {
	if a := m.found[hash]; a != nil {
		return a
	}
	return m.missing[hash]
}

// put takes an answer and reports whether it is another one than before.
func (m *answers) put(hash string, a *answer) (changed bool) {
	old := m.get(hash)
	changed = old != nil && old.text != a.text
	m.drop(hash)
	if a.info == nil {
		for other := range m.missing {
			if len(m.missing) < maxMissing {
				break
			}
			m.drop(other)
		}
		m.missing[hash] = a
		return changed
	}
	for other := range m.found {
		if m.size+int64(len(a.text)) <= maxParsed {
			break
		}
		m.drop(other)
	}
	m.found[hash] = a
	m.size += int64(len(a.text))
	return changed
}

func (m *answers) drop(hash string) {
	if a := m.found[hash]; a != nil {
		m.size -= int64(len(a.text))
	}
	delete(m.found, hash)
	delete(m.missing, hash)
}

// expire lets a narinfo be asked for again.
func (m *answers) expire(hash string) {
	if a := m.found[hash]; a != nil {
		m.found[hash] = a.again(time.Time{})
	}
}

// A record is this, a decimal number of Unix seconds, a line end, and the text of a narinfo. It is as little trusted as
// one from the cache itself: signatures are verified each time, so it does not matter under which keys it was written.
const recordHead = "narinfo 1 "

func (x *remote) recordKey(hash string) string { return "narinfo/" + x.trust.name + "/" + hash }

// recorded returns the narinfo that Records has for a hash part; nil if it has none of use.
func (x *remote) recorded(hash string) *answer {
	if x.records == nil {
		return nil
	}
	b, err := x.records.Get(x.ctx, x.recordKey(hash))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			x.recordsFail(err)
		}
		return nil
	}
	text, at, ok := parseRecord(string(b))
	if !ok || len(text) > maxNarinfo {
		return nil
	}
	if at.After(time.Now()) { // another clock wrote it: nobody knows how old it is
		at = time.Time{}
	}
	if a := x.understand(hash, text, at); a.info != nil {
		return a
	}
	return nil
}

func parseRecord(s string) (text string, at time.Time, ok bool) {
	line, text, ok := strings.Cut(s, "\n")
	num, headed := strings.CutPrefix(line, recordHead)
	sec, err := strconv.ParseInt(num, 10, 64)
	return text, time.Unix(sec, 0), ok && headed && err == nil
}

// record keeps a narinfo; where there is none any more it takes back what was kept.
func (x *remote) record(hash string, a *answer) {
	switch {
	case x.records == nil:
	case a.info == nil:
		x.unrecord(x.ctx, hash)
	default:
		value := fmt.Appendf(nil, "%s%d\n%s", recordHead, a.got.Unix(), a.text)
		if err := x.records.Put(x.ctx, x.recordKey(hash), value); err != nil {
			x.recordsFail(err)
		}
	}
}

// unrecord takes back what may be kept. Records cannot delete: an empty value is no record.
func (x *remote) unrecord(ctx context.Context, hash string) {
	if x.records == nil {
		return
	}
	key := x.recordKey(hash)
	if b, err := x.records.Get(ctx, key); err != nil || len(b) == 0 {
		return
	}
	if err := x.records.Put(ctx, key, nil); err != nil {
		x.recordsFail(err)
	}
}

// recordsFail logs the first failure: without records all goes on, only slower.
func (x *remote) recordsFail(err error) {
	if x.ctx.Err() == nil {
		x.warn.Do(func() { x.trust.log.Warn("narinfo records", "cache", x.trust.name, "err", err) })
	}
}
