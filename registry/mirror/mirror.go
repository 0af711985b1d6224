// Package mirror is a pull-through cache of another registry: a [registry.Source] that asks an upstream for what
// it does not have, gives it to the client while it arrives, and keeps it for the next one.
//
// It owns what a name means (tags, and for how long that is believed), which repository may give which blob, what is
// answered while the upstream is down, and which repositories are mirrored at all. The bytes are package blobs', the
// wire is package upstream's. It knows nothing of Nix, nor how its records are kept.
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
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// Defaults and bounds of the time that things are believed.
const (
	defaultTTL = 5 * time.Minute
	absentFor  = 10 * time.Second // what the upstream says is not there
	signedFor  = 10 * time.Second // what is added to an image after it was pushed: referrers, tags of signatures
	downFor    = 10 * time.Second // an upstream that does not answer, or with an error of its own
	busyFor    = 30 * time.Second // an upstream that wants fewer requests, and does not say when
	longest    = 2 * time.Minute  // an upstream is asked again, however long it wants to be left alone

	// patience is for how long an upstream may think about a tag of which there is a copy; with none, the client waits
	// as long as the wire allows.
	patience = 10 * time.Second
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

// Config is what a Mirror is made of. Upstream, Blobs and Records must be set; all are closed by their owner, after the
// Mirror. Several mirrors may share Blobs and Records, if the names of their upstreams differ.
type Config struct {
	Upstream Upstream
	Blobs    *blobs.Cache
	Records  Records
	// TTL is for how long the meaning of a tag is believed; 0 is 5 minutes. What has a digest is believed for ever; referrers,
	// and the tags of signatures, for seconds.
	TTL time.Duration
	// Allow are patterns of the repositories that are mirrored, none for all; Deny are those of exceptions. A * is any
	// part of one component of a name, a component ** is any number of them. A single component is one of library/ where
	// the upstream is docker.io.
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

// New makes a Mirror. A pattern that is none is an error matching [fs.ErrInvalid]. The caller closes the Mirror.
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

// Close ends the questions that are under way, and waits for them.
func (m *Mirror) Close() error {
	m.flights.stop()
	return nil
}

// repository is the upstream's name for one, or an error for one that is not to be mirrored.
func (m *Mirror) repository(name string) (string, error) {
	name = official(m.upstream, name)
	if !m.permits.allow(name) {
		return "", &registry.StatusError{Status: 403, Err: saidf("%s/%s is not among what is mirrored here", m.upstream.Name(), name)}
	}
	return name, nil
}

// official is the whole name of a repository, or a pattern of one. Docker Hub's own images may be named without their
// library/, as Docker lets its users do.
func official(u Upstream, name string) string {
	if u.Name() == "docker.io" && !strings.Contains(name, "/") && name != "**" {
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

// Repositories implements [registry.Lister]: no registry lists those of another.
func (m *Mirror) Repositories(context.Context) ([]string, error) {
	return nil, fmt.Errorf("repositories of %s: %w", m.upstream.Name(), errors.ErrUnsupported)
}

// answer turns an error of the upstream into what the client is to see.
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

// said is an error whose text is for everybody.
type said struct{ error }

func saidf(format string, args ...any) error { return said{fmt.Errorf(format, args...)} }

func (s said) Unwrap() error  { return s.error }
func (s said) Public() string { return s.Error() }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
