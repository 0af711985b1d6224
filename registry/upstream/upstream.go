// Package upstream reads from another registry: manifests, blobs, tags and referrers.
//
// It owns the registry's address, its credentials and tokens, its errors, and the pages of its lists. internal/fetch sends the
// requests. The package must not know caches, archives or Nix, nor its callers. It keeps tokens and nothing else.
//
//	r, err := upstream.New(upstream.Options{Name: "docker.io", Keychain: authn.DefaultKeychain})
//	d, err := r.Manifest(ctx, "library/nginx", "latest")
//	body, err := r.Blob(ctx, "library/nginx", layer)
//	defer body.Close()
//
// Requests follow the OCI distribution specification 1.1, and Docker's token authentication
// (https://distribution.github.io/distribution/spec/auth/token/).
//
// # Where it connects to
//
// Requests go to the configured scheme, host and port. A token server that the registry names, and a redirect, follow the rules
// of internal/fetch: https, or http if the registry is at http, and no address of another class.
//
// # Who gets credentials
//
// The registry gets credentials and tokens. A token server that the registry names gets credentials on two conditions. It is at
// https, or the registry is at http. And its host is the registry's, or has the same last two labels (auth.docker.io and
// index.docker.io, gitlab.com and registry.gitlab.com); addresses and single labels must be equal. Docker Hub counts as
// docker.io, also at registry.hub.docker.com. Other token servers are asked without credentials. A redirect to another origin
// carries neither credentials nor tokens.
//
// # What is too slow
//
// The header of an answer must come in 30 s, that of a manifest or a blob in 5 min: a registry that is a proxy may get all of it
// first. A body must bring a byte a minute and 512 KiB in two minutes. Time in which the reader does not read does not count.
package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/flight"
)

// Options name the registry and say how to reach it. Only Name must be set.
type Options struct {
	// Name is the registry's name in the names of images, and in messages: "docker.io", "127.0.0.1:5001", "lab".
	Name string
	// URL is "https://host[:port]" or "http://host[:port]". "" means https://Name, for docker.io Docker Hub's host.
	URL string
	// Keychain has the credentials; nil means none. It is asked for Name, or for the host of URL if that belongs to
	// another party by the rule for token servers. Docker Hub is always index.docker.io, as in Docker's configuration. It
	// is asked again after the registry refused its answer, and 10 s after it failed. If it takes longer than 30 s, requests
	// fail with an error matching [ErrCredentials]; the question goes on in one goroutine, and there is no second one.
	Keychain authn.Keychain
	// SkipVerify turns off the check of certificates.
	SkipVerify bool
	// AllowHTTP allows plain HTTP, also for credentials, if URL is "" and the server does not speak HTTPS. A server that
	// speaks HTTPS with an untrusted certificate is not asked by HTTP.
	AllowHTTP bool
	// Patient: wait and try again if the registry wants fewer requests (429), or is out of reach in the middle of a blob.
	// Otherwise both are an error at once.
	Patient bool
	// Log gets warnings, and at level Info how long a patient registry waits; nil means no log.
	Log *slog.Logger
	// Now is the clock for tokens and dates; nil is [time.Now].
	Now func() time.Time
	// Wait waits between tries, or returns the error of ctx; nil means to sleep.
	Wait func(ctx context.Context, d time.Duration) error
}

// Registry is another registry. It is safe for concurrent use. It needs no Close: idle connections end by themselves, and a
// request for a token that no caller waits for ends within a minute.
type Registry struct {
	*server
	auth      *auth
	patient   bool
	announced announced
	wait      func(context.Context, time.Duration) error
}

// announced is the end of the last wait that is in the log.
type announced struct {
	mu    sync.Mutex
	until time.Time
}

// first reports whether a wait until then is not in the log yet. Of several requests that wait as long, one logs it.
func (a *announced) first(until time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if until.Sub(a.until) < time.Second {
		return false
	}
	a.until = until
	return true
}

// New returns a Registry. It connects to nothing. The error for wrong options matches [io/fs.ErrInvalid].
func New(o Options) (*Registry, error) {
	return newRegistry(o, fetch.Options{TLS: &tls.Config{InsecureSkipVerify: o.SkipVerify}})
}

func newRegistry(o Options, f fetch.Options) (*Registry, error) {
	addr, err := newAddress(o.Name, o.URL)
	if err != nil {
		return nil, err
	}
	addr.undecided.Store(o.AllowHTTP && o.URL == "")
	to := &server{
		name:    o.Name,
		address: addr,
		calls:   flight.NewGroup(context.Background()),
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("upstream", o.Name),
		now:     o.Now,
	}
	if to.now == nil {
		to.now = time.Now
	}
	f.Base, f.Redirects, f.Slow, f.Now = addr.base, maxRedirects, slow, to.now
	to.client = fetch.New(f)
	r := &Registry{server: to, auth: newAuth(to, o.Keychain), patient: o.Patient, wait: o.Wait}
	if r.wait == nil {
		r.wait = fetch.Sleep
	}
	return r, nil
}

// Name returns the registry's name in the names of images.
func (r *Registry) Name() string { return r.name }

// PlainHTTP reports whether the registry is asked by plain HTTP: as its URL says, or as was found.
func (r *Registry) PlainHTTP() bool { return r.address.plain.Load() }

// Host returns the host[:port] of the registry's URL.
func (r *Registry) Host() string { return r.address.host }
