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
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/flight"
)

const (
	headerTimeout = 30 * time.Second
	makeTimeout   = 5 * time.Minute // for the header of a manifest or a blob: a registry may have to make or fetch it first
	maxRedirects  = 9               // a nixreg that is not ready has eight of them, a proxy in front of it one
)

var slow = fetch.Slow{Stall: 60 * time.Second, Limit: 2 * time.Minute, Bytes: 512 << 10}

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
	name      string
	address   *address
	client    *fetch.Client
	auth      *auth
	calls     *flight.Group
	patient   bool
	announced announced
	log       *slog.Logger
	now       func() time.Time
	wait      func(context.Context, time.Duration) error
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
	r := &Registry{
		name:    o.Name,
		address: addr,
		calls:   flight.NewGroup(context.Background()),
		patient: o.Patient,
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("upstream", o.Name),
		now:     o.Now,
		wait:    o.Wait,
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.wait == nil {
		r.wait = fetch.Sleep
	}
	f.Base, f.Redirects, f.Slow, f.Now = addr.base, maxRedirects, slow, r.now
	r.client = fetch.New(f)
	r.auth = newAuth(r, o.Keychain)
	return r, nil
}

// Name is the registry's name as images have it.
func (r *Registry) Name() string { return r.name }

// Host is the host[:port] that is connected to.
func (r *Registry) Host() string { return r.address.host }

// settle finds out whether HTTPS or, where that is allowed and HTTPS is not spoken, HTTP is spoken.
func (r *Registry) settle(ctx context.Context) error {
	if !r.address.undecided.Load() {
		return nil
	}
	_, err := flight.Once(ctx, r.calls, "scheme", func(ctx context.Context) (struct{}, error) {
		if !r.address.undecided.Load() {
			return struct{}{}, nil
		}
		err := r.probe(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fetch.ErrTimeout) && !errors.Is(err, ErrCertificate) {
			r.address.plain.Store(true)
			if r.probe(ctx) == nil {
				err = nil
				r.log.WarnContext(ctx, "registry speaks no HTTPS: plain HTTP is used")
			} else {
				r.address.plain.Store(false)
			}
		}
		if err == nil {
			r.address.undecided.Store(false)
		}
		return struct{}{}, err
	})
	return err
}

// probe reports whether anything answers. No other request is sent before the scheme is settled.
func (r *Registry) probe(ctx context.Context) error {
	req := (&http.Request{Method: http.MethodGet, URL: r.url("", nil), Header: http.Header{}}).WithContext(ctx)
	stay := func(*http.Response) bool { return true }
	resp, err := r.client.Send(fetch.Request{Request: req, Wait: headerTimeout, Stay: stay})
	if e := (*fetch.Error)(nil); errors.As(err, &e) && e.Status != 0 && e.Kind == nil {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// url is that of a path below /v2/.
func (r *Registry) url(path string, query url.Values) *url.URL {
	u := r.address.base()
	u.Path, u.RawQuery = "/v2/"+path, query.Encode()
	return u
}

// about names the registry in an error of this side: it is nothing the registry said.
func (r *Registry) about(subject string, err error) error {
	return fmt.Errorf("%s: %s: %w", r.name, subject, err)
}
