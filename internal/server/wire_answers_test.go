package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/cases"
	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/storetest"
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

// resting is a store that wants to be left alone.
type resting struct {
	error
	rest time.Duration
}

func (r resting) Unwrap() error             { return r.error }
func (r resting) RetryAfter() time.Duration { return r.rest }

// TestRestReachesClients: they get the time for which a cache is left alone, within an hour.
func TestRestReachesClients(t *testing.T) {
	for _, kind := range []error{store.ErrUnavailable, binarycache.ErrCorrupt} {
		for rest, want := range map[time.Duration]time.Duration{2 * time.Minute: 2 * time.Minute, 0: 0, 365 * 24 * time.Hour: time.Hour} {
			var s *registry.StatusError
			if err := answer(fmt.Errorf("find: %w", resting{kind, rest})); !errors.As(err, &s) || s.RetryAfter != want {
				t.Errorf("%v, %v: %+v", kind, rest, s)
			}
		}
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

// full is a store whose archives find no room on the disk.
type full struct {
	store.Store
	err error
}

func (f full) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	if f.err != nil {
		return nil, fmt.Errorf("open %s: spool: %w", p, &fs.PathError{Op: "write", Path: "x", Err: f.err})
	}
	return f.Store.Open(ctx, p)
}

// TestCaseR8FullDisk: while the disk is full nothing is known to be absent.
func TestCaseR8FullDisk(t *testing.T) {
	cases.Open(t, "R8")
	m := storetest.New()
	p := m.Add("hello-1", storetest.Files{"bin/hello": storetest.Exec("#!/bin/sh\n")})
	for _, fault := range []error{nil, syscall.ENOSPC, syscall.EDQUOT} { // the first as today
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{full{m, fault}}, Cache: new(digests.Memory)})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		s := served{src}
		h := &registry.Handler{Source: s, Lister: s, Referrers: s}
		for _, path := range []string{"hello/manifests/latest", "hello/manifests/1", "hello/tags/list", "store/" + p.Hash() + "/manifests/latest", "_catalog"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/v2/"+path, nil))
			want := map[bool]int{true: 200, false: 503}[fault == nil]
			if w.Code != want || want == 503 && w.Header().Get("Retry-After") == "" {
				t.Errorf("%v: %s: %d %v %s", fault, path, w.Code, w.Header(), w.Body)
			}
		}
	}
}
