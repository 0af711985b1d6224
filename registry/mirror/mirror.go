// Package mirror is a pull-through cache of another registry, its upstream. It is a [registry.Source] that fetches a missing
// document or blob from the upstream, sends it to the client while it arrives, and keeps it.
//
// It owns the tags and their TTL, which blobs belong to which repository, the answers while the upstream is down, and the choice
// of mirrored repositories. Package blobs owns the bytes, package upstream the requests. It must not know Nix, or how records are
// kept.
//
//	m, err := mirror.New(mirror.Config{Upstream: hub, Blobs: cache, Records: records})
//	defer m.Close()
//	h := registry.Handler{Source: m, Lister: m, Referrers: m}
package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// Times until the upstream is asked again.
const (
	defaultTTL = 5 * time.Minute  // for a tag
	absentFor  = 10 * time.Second // for something that the upstream does not have
	signedFor  = 10 * time.Second // for referrers and tags of signatures, which are added after the push of an image
	downFor    = 10 * time.Second // after no answer, or any other error of the upstream
	busyFor    = 30 * time.Second // after 429 without Retry-After
	longest    = 2 * time.Minute  // after any Retry-After

	// copyWait bounds the wait for the upstream if there is a copy to serve. Without one, the client waits as long as package
	// upstream does.
	copyWait = 10 * time.Second
)

// Upstream is the registry that is mirrored; [upstream.Registry] is one. Safe for concurrent use.
type Upstream interface {
	Name() string
	Head(ctx context.Context, repo, ref string, accept ...types.MediaType) (*v1.Descriptor, error)
	Manifest(ctx context.Context, repo, ref string, accept ...types.MediaType) (*v1.Descriptor, error)
	Stat(ctx context.Context, repo string, d v1.Hash) (int64, error)
	Blob(ctx context.Context, repo string, d v1.Hash) (*upstream.Body, error)
	Tags(ctx context.Context, repo string) ([]string, error)
	Referrers(ctx context.Context, repo string, d v1.Hash) ([]v1.Descriptor, error)
}

// Records keeps small facts beyond the process.
type Records = kv.Store

// Config has the parts of a Mirror. Upstream, Blobs and Records must be set; all are closed by their owner, after the
// Mirror. Several mirrors may share Blobs and Records, if the names of their upstreams differ.
type Config struct {
	Upstream Upstream
	Blobs    *blobs.Cache
	Records  Records
	// TTL is the time until the upstream is asked for a tag again; 0 is 5 minutes. Referrers and tags of signatures have one of
	// seconds. Digests are never asked for again.
	TTL time.Duration
	// Allow has patterns of the mirrored repositories, none for all; Deny has exceptions. A * is any part of one component, a
	// component ** is any number of components. For docker.io, a single component is one of library/.
	Allow, Deny []string
	Log         *slog.Logger     // nil: silent
	Now         func() time.Time // nil: time.Now
}

// Mirror serves the images of one upstream. It implements [registry.Source], [registry.Lister] and
// [registry.ReferrerLister], and is safe for concurrent use.
type Mirror struct {
	upstream Upstream
	blobs    *blobs.Origin
	records  records
	ttl      time.Duration
	permits  permits
	log      *slog.Logger
	now      func() time.Time
	flights  flights
	failures *failures
}

// New makes a Mirror. An invalid pattern gives an error matching [fs.ErrInvalid]. The caller closes the Mirror.
func New(c Config) (*Mirror, error) {
	p, err := newPermits(officials(c.Upstream, c.Allow), officials(c.Upstream, c.Deny))
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", c.Upstream.Name(), err)
	}
	m := &Mirror{
		upstream: c.Upstream,
		blobs:    c.Blobs.Origin(0),
		records:  records{c.Records, "mirror/" + c.Upstream.Name() + "/"},
		ttl:      cmp.Or(c.TTL, defaultTTL),
		permits:  p,
		log:      c.Log,
		now:      c.Now,
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.log = m.log.With("mirror", c.Upstream.Name())
	if m.now == nil {
		m.now = time.Now
	}
	m.failures = newFailures(m.now)
	m.flights.start()
	return m, nil
}

// Close ends the running requests, and waits for them.
func (m *Mirror) Close() error {
	m.flights.stop()
	return nil
}

// repository returns the upstream's name of a repository, or an error if it is not mirrored.
func (m *Mirror) repository(name string) (string, error) {
	name = official(m.upstream, name)
	if !m.permits.allow(name) {
		return "", &registry.StatusError{Status: 403, Err: publicf("%s/%s is not among what is mirrored here", m.upstream.Name(), name)}
	}
	return name, nil
}

// official returns the whole name of a repository, or pattern. Names of Docker Hub's own images may lack the library/, as in
// Docker.
func official(u Upstream, name string) string {
	if u.Name() == oci.DockerHub && !strings.Contains(name, "/") && name != "**" {
		return "library/" + name
	}
	return name
}

func officials(u Upstream, names []string) (all []string) {
	for _, n := range names {
		all = append(all, official(u, n))
	}
	return all
}

// Repositories implements [registry.Lister]. The upstream is not asked: public registries do not list theirs.
func (m *Mirror) Repositories(context.Context) ([]string, error) {
	return nil, fmt.Errorf("repositories of %s: %w", m.upstream.Name(), errors.ErrUnsupported)
}

// answer converts an error of the upstream to the error for the client.
func answer(err error) error {
	var u *upstream.Error
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return err
	case errors.Is(err, upstream.ErrCredentials):
		return &registry.StatusError{Status: 502, Text: "the credentials for the upstream cannot be read", Err: err}
	case errors.Is(err, blobs.ErrContent):
		return &registry.StatusError{Status: 502, Text: "the upstream gives something else than was asked for", Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &registry.StatusError{Status: 503, Text: "the mirror's disk is full", Err: err}
	case !errors.As(err, &u):
		return err
	}
	s := &registry.StatusError{Status: 502, RetryAfter: u.RetryAfter, Text: u.Public(), Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.Status = 403
	case u.Status == 429 || u.Status >= 500:
		s.Status = u.Status
	case u.Status == 0 && isTimeout(err):
		s.Status = 504
	}
	return s
}

// publicError is an error whose text clients may see.
type publicError struct{ error }

func publicf(format string, args ...any) error { return publicError{fmt.Errorf(format, args...)} }

func (p publicError) Unwrap() error  { return p.error }
func (p publicError) Public() string { return p.Error() }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
