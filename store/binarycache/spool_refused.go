package binarycache

import "time"

const (
	refusedFor = 10 * time.Minute
	maxRefused = 1000
)

// malformedError is about an archive that has the right hash, so that fetching it again would change nothing.
type malformedError struct{ error }

func (e malformedError) Unwrap() error { return e.error }

// refusals are the archives that were found malformed.
type refusals map[narKey]refusal

type refusal struct {
	err   error
	until time.Time
}

func (r refusals) find(k narKey, now time.Time) error {
	found, ok := r[k]
	if ok && now.After(found.until) {
		delete(r, k)
		return nil
	}
	return found.err
}

func (r refusals) add(k narKey, err error, now time.Time) {
	for old := range r { // any one: it would be found malformed again
		if len(r) < maxRefused {
			break
		}
		delete(r, old)
	}
	r[k] = refusal{err, now.Add(refusedFor)}
}
