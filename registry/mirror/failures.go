package mirror

import (
	"errors"
	"io/fs"
	"time"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/registry/upstream"
)

// failureBytes bounds the failures that are remembered.
const failureBytes = 4 << 20

// Keys of failures of the upstream as a whole.
const (
	// busyKey is the key of an upstream that wants fewer requests for documents. Registries count those, and not the blobs.
	busyKey = "busy"
	// downKey is the key of an upstream that does not answer at all. It counts where there is a copy to serve, so that a request
	// for the next tag does not wait again.
	downKey = "down"
)

// failures is a negative cache. It keeps an error of the upstream for a short time, so that the upstream is asked once for all
// clients that request the same absent thing. It is in memory only. Safe for concurrent use.
type failures struct {
	now   func() time.Time
	known lru.Cache[string, failure]
}

type failure struct {
	err   error
	until time.Time
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, known: lru.Cache[string, failure]{Max: failureBytes, Now: now}}
}

// get returns the failure under key, or the failure under one of the general keys of the upstream; nil if the upstream may be
// asked.
func (f *failures) get(key string, general ...string) error {
	for _, k := range append([]string{key}, general...) {
		if e, ok := f.known.Get(k); ok {
			return e.again(f.now(), k != key)
		}
	}
	return nil
}

// again returns the error for a later request. Its RetryAfter is the rest of the wait. other says that the later request is for
// another thing: then the error does not name the subject of the first request.
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

// put remembers a failure, for a time that depends on its kind. Errors of the mirror itself are not remembered.
func (f *failures) put(key string, err error) {
	var u *upstream.Error
	if !errors.As(err, &u) {
		return
	}
	hold := downFor
	switch {
	case errors.Is(err, fs.ErrNotExist): // before RetryAfter: it may be pushed at any time
		hold = absentFor
	case u.RetryAfter > 0:
		hold = min(u.RetryAfter, longest)
	case u.Status == 429:
		hold = busyFor
	case errors.Is(err, fs.ErrPermission):
		hold = absentFor
	}
	f.known.PutFor(key, failure{err, f.now().Add(hold)}, int64(len(key)+len(err.Error())), hold)
}

// putDocument remembers the failure of a request for a document, list or tag.
func (f *failures) putDocument(key string, err error) {
	f.put(key, err)
	u := (*upstream.Error)(nil)
	switch {
	case !errors.As(err, &u):
	case u.Status == 429 && !u.TokenServer: // a token server counts something else
		f.put(busyKey, err)
	case u.Status == 0:
		f.put(downKey, err)
	}
}
