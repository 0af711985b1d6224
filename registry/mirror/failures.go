package mirror

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"nixreg/registry/upstream"
)

// maxFailures bounds how many are remembered at a time.
const maxFailures = 10000

// busyKey is for an upstream that wants fewer requests for documents, whichever they are. Registries count those, and not
// the blobs.
const busyKey = ""

// failures are the upstream's answers that are given again for a short while, so that a crowd of clients that wants
// what is not there asks the upstream once. They are kept in memory alone.
type failures struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]failure
}

type failure struct {
	err   error
	until time.Time
}

// get returns the failure of one of several questions; nil if all may be asked.
func (f *failures) get(keys ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range keys {
		if e, ok := f.known[k]; ok && f.now().Before(e.until) {
			return e.again(f.now())
		}
	}
	return nil
}

// again is the error as it is at a later time: there is less to wait for.
func (e failure) again(now time.Time) error {
	u := new(upstream.Error)
	if !errors.As(e.err, &u) || u.RetryAfter == 0 {
		return e.err
	}
	later := *u
	later.RetryAfter = e.until.Sub(now)
	return &later
}

// put remembers the failure of a question for as long as its kind is worth. Errors of this side are not remembered.
func (f *failures) put(key string, err error) {
	var u *upstream.Error
	if !errors.As(err, &u) {
		return
	}
	hold := downFor
	switch {
	case u.RetryAfter > 0:
		hold = u.RetryAfter
	case u.Status == 429:
		hold = busyFor
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		hold = absentFor
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shrink()
	if f.known == nil {
		f.known = make(map[string]failure)
	}
	f.known[key] = failure{err, f.now().Add(hold)}
}

// putDocument remembers the failure of a question for a document, list or tag.
func (f *failures) putDocument(key string, err error) {
	if u := (*upstream.Error)(nil); errors.As(err, &u) && u.Status == 429 {
		key = busyKey
	}
	f.put(key, err)
}

// shrink makes room for one more: first what is over goes, then anything.
func (f *failures) shrink() {
	if len(f.known) < maxFailures {
		return
	}
	for k, e := range f.known {
		if !f.now().Before(e.until) {
			delete(f.known, k)
		}
	}
	for k := range f.known {
		if len(f.known) < maxFailures {
			return
		}
		delete(f.known, k)
	}
}
