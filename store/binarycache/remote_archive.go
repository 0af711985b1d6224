package binarycache

import (
	"errors"
	"io"
	"time"

	"nixreg/store"
)

// archiveKey is the key in remote.answers of the failure of an archive. It is no hash part, whatever a narinfo's URL is.
func archiveKey(name string) string { return "archive " + name }

// failedBefore returns the failure of an archive whose pause is not over; nil if there is none.
func (x *remote) failedBefore(name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if a := x.answers.get(archiveKey(name)); a != nil && time.Now().Before(a.until) {
		return a.err
	}
	return nil
}

// archiveFails remembers that an archive cannot be had: each try for it takes seconds. The cache is looked at before it is
// next asked for one. The error that comes back is a *pathFailure.
func (x *remote) archiveFails(name string, err error) error {
	f := &pathFailure{paused{err, time.Now().Add(max(failedFor, retryAfter(err)))}}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.uncheck()
	x.answers.put(archiveKey(name), &answer{err: f, until: f.until})
	return f
}

// remoteArchive is an archive as it comes from a cache, which may fail half way.
type remoteArchive struct {
	io.ReadCloser
	remote *remote
	name   string
}

// Read implements io.Reader.
func (a *remoteArchive) Read(b []byte) (int, error) {
	n, err := a.ReadCloser.Read(b)
	if errors.Is(err, store.ErrUnavailable) {
		err = a.remote.archiveFails(a.name, err)
	}
	return n, err
}
