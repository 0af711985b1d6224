// Package upstream reads from another registry: manifests, blobs, tags and referrers.
//
// It owns the registry's address, credentials and tokens, its errors, and the pages of its lists. How requests are sent is
// the matter of internal/fetch. It must not know caches, archives or Nix, nor who serves what is read here. It keeps tokens
// and nothing else.
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
// The registry is reached at its configured scheme, host and port alone. Whatever it points to, as a token server or by a
// redirect, follows the rules of internal/fetch: https, or http if the registry is http, and no address of another class.
//
// # Who gets credentials
//
// Credentials and tokens go to the registry itself. Credentials also go to a token server that the registry names, if it
// is https or the registry is http, and if its host is the registry's, or has the same last two labels (auth.docker.io
// and index.docker.io, gitlab.com and registry.gitlab.com). Addresses and single labels must be equal. Docker Hub is
// docker.io, also where it is reached at registry.hub.docker.com. Other token servers are asked without credentials. A
// redirect to elsewhere carries none of it.
//
// # What is too slow
//
// An answer must begin in 30 s; one with a blob in 5 min, for a registry that is a proxy may get all of it first. A body
// must bring a byte a minute and 512 KiB in two minutes, of the time that its reader waits for it.
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

// Options say which registry, and how it is reached. Only Name must be set.
type Options struct {
	// Name is the registry's as images are named: "docker.io", "127.0.0.1:5001", "lab". Messages name it.
	Name string
	// URL is "https://host[:port]" or "http://host[:port]"; "" is https://Name, and Docker Hub's own host for docker.io.
	URL string
	// Keychain has the credentials; nil is anonymous. It is asked for the registry's name, docker.io being
	// index.docker.io as Docker's configuration has it. If URL is at a host of someone else, by the rule for token
	// servers, it is asked for that host; Docker Hub's hosts are index.docker.io in any case. It is asked again only
	// after its answer was refused, or 10 s after it failed. If it takes longer than 30 s, that is an error matching
	// [ErrCredentials]; it goes on in one goroutine, and nobody else asks until it is done.
	Keychain authn.Keychain
	// SkipVerify leaves certificates unchecked.
	SkipVerify bool
	// AllowHTTP uses plain HTTP if URL is "" and HTTPS is not spoken, for credentials too. A server that speaks HTTPS with
	// a certificate that is not trusted is not asked by HTTP.
	AllowHTTP bool
	// Patient waits and tries again where the registry wants fewer requests (429), and where it is out of reach in the midst
	// of a blob. Otherwise that is an error at once.
	Patient bool
	// Log gets warnings, and for how long a patient registry waits as Info; nil is silent.
	Log *slog.Logger
	// Now is the clock for tokens and dates; nil is [time.Now].
	Now func() time.Time
	// Wait waits between tries, or gives an error of ctx if that ends first; nil waits for real.
	Wait func(ctx context.Context, d time.Duration) error
}

// Registry is another registry. It is safe for concurrent use, and needs no closing: idle connections end by themselves, and
// what it does on its own account ends within two minutes.
type Registry struct {
	*server
	auth      *auth
	patient   bool
	announced announced
	wait      func(context.Context, time.Duration) error
}

// announced is the end of the last wait that the log tells of.
type announced struct {
	mu    sync.Mutex
	until time.Time
}

// first reports whether a wait until then is news: of several requests that wait as long, one tells the log.
func (a *announced) first(until time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if until.Sub(a.until) < time.Second {
		return false
	}
	a.until = until
	return true
}

// New makes a Registry. It checks the options and connects to nothing; what is wrong with them is an error matching
// [io/fs.ErrInvalid].
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

// Name is the registry's name as images have it.
func (r *Registry) Name() string { return r.name }

// Host is the host[:port] that is connected to.
func (r *Registry) Host() string { return r.address.host }
