package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"testing"

	"nixreg/registry"
	"nixreg/store"
	"nixreg/store/binarycache"
)

// TestCorruptCache: what a cache gave wrong is its fault, and the client does not see what it was.
func TestCorruptCache(t *testing.T) {
	var s *registry.StatusError
	err := answer(fmt.Errorf("open x: %w", binarycache.ErrCorrupt))
	if !errors.As(err, &s) || s.Status != http.StatusBadGateway || s.Text == "" || !errors.Is(err, binarycache.ErrCorrupt) {
		t.Errorf("%+v", err)
	}
}

func TestUnavailableStore(t *testing.T) {
	missing := fmt.Errorf("find: %w", fs.ErrNotExist)
	down := fmt.Errorf("https://cache.test: 401: give netrc-file: %w: %w", fs.ErrPermission, store.ErrUnavailable)
	busy := &registry.StatusError{Status: http.StatusTooManyRequests, Err: down}
	for _, err := range []error{nil, missing, busy} {
		if got := answer(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	var s *registry.StatusError
	if got := answer(fmt.Errorf("image: %w", down)); !errors.As(got, &s) || s.Status != http.StatusBadGateway || !errors.Is(got, down) {
		t.Errorf("%v became %v", down, got)
	}
	if s.Error() != "image: "+down.Error() {
		t.Errorf("clients are told %q", s.Error())
	}
}

// listed is a channel of what is in it, or an error.
type listed struct {
	all []store.Package
	err error
}

func (p listed) Name() string                          { return "x" }
func (p listed) State(context.Context) (string, error) { return "", nil }
func (p listed) Packages(ctx context.Context) iter.Seq2[store.Package, error] {
	return func(yield func(store.Package, error) bool) {
		err := p.err
		for _, pkg := range p.all {
			if !yield(pkg, nil) {
				return
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(store.Package{}, err)
		}
	}
}

// outdated is a channel that has packages of earlier.
type outdated struct {
	listed
	why error
}

func (o outdated) Outdated() error { return o.why }

func TestUnreadChannel(t *testing.T) {
	down := fmt.Errorf("the channel x was not read yet: %w", store.ErrUnavailable)
	if err := unread(listed{err: down}); err != down {
		t.Error(err)
	}
	if err := unread(outdated{listed{all: make([]store.Package, 3)}, down}); err != down {
		t.Error(err)
	}
	for _, c := range []listed{{}, {all: make([]store.Package, 3)}} { // being read, or read
		if err := unread(c); err != nil {
			t.Error(err)
		}
	}
}
