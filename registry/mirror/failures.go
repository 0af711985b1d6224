package mirror

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/nixreg/nixreg/registry/upstream"
)

// maxFailures bounds how many are remembered at a time.
const maxFailures = 10000

// Keys of failures that are the upstream's, whatever it was asked.
const (
	// busyKey is for one that wants fewer requests for documents. Registries count those, and not the blobs.
	busyKey = "busy"
	// downKey is for one that does not answer at all. It counts where there is a copy to serve, so that not every tag has
	// to wait for it anew.
	downKey = "down"
)

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

// get returns the failure of a question, or of the upstream under one of the general keys; nil if it may be asked.
func (f *failures) get(key string, general ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range append([]string{key}, general...) {
		e, ok := f.known[k]
		if !ok || !f.now().Before(e.until) {
			continue
		}
		return e.again(f.now(), k != key)
	}
	return nil
}

// again is the error as it is at a later time: there is less to wait for. To one who asked for something else it does
// not say what it was about.
func (e failure) again(now time.Time, other bool) error {
	u := new(upstream.Error)
	if !errors.As(e.err, &u) {
		return e.err
	}
	later := *u
	if u.RetryAfter > 0 {
		later.RetryAfter = e.until.Sub(now)
	}
	if other {
		later.Subject, later.Err = "", errors.New("does not answer")
	}
	if other && u.Status == 429 {
		later.Err = errors.New("wants fewer requests")
	}
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
	case errors.Is(err, fs.ErrNotExist): // it may be pushed at any time, whenever the upstream wants to be asked again
		hold = absentFor
	case u.RetryAfter > 0:
		hold = min(u.RetryAfter, longest)
	case u.Status == 429:
		hold = busyFor
	case errors.Is(err, fs.ErrPermission):
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
	f.put(key, err)
	u := (*upstream.Error)(nil)
	switch {
	case !errors.As(err, &u):
	case u.Status == 429 && !u.TokenServer: // that one counts something else
		f.put(busyKey, err)
	case u.Status == 0:
		f.put(downKey, err)
	}
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
