// Package upstream is the wire to another registry: its address, TLS and proxies, credentials and tokens, redirects,
// retries, the resumption of what was cut, and the rules that keep a registry from sending this machine elsewhere.
//
// It must not know caches, archives or Nix, nor who serves what is read here. Nothing is kept but tokens.
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
// The registry is reached at its configured scheme, host and port alone. Whatever it points to, as a token server or by
// a redirect, must be https, or may be http if the registry is; and must not be an address of this machine, of a private
// network or otherwise special, unless the registry's own address is of the same class; it is never where a
// cloud has its metadata. That is decided by the address that is dialled, not by its name. Behind a proxy of the environment the proxy dials, and only names and literal
// addresses can be judged.
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
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
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

// Registry is another registry. It is safe for concurrent use, and needs no closing: idle connections end by themselves.
type Registry struct {
	name    string
	address *address
	wire    *wire
	auth    *auth
	schemes flights[struct{}]
	patient bool
	said    said
	log     *slog.Logger
	now     func() time.Time
	wait    func(context.Context, time.Duration) error
}

// New makes a Registry. It checks the options and connects to nothing; what is wrong with them is an error matching
// [io/fs.ErrInvalid].
func New(o Options) (*Registry, error) {
	addr, err := newAddress(o.Name, o.URL)
	if err != nil {
		return nil, err
	}
	addr.undecided.Store(o.AllowHTTP && o.URL == "")
	r := &Registry{
		name:    o.Name,
		address: addr,
		wire:    newWire(addr, &tls.Config{InsecureSkipVerify: o.SkipVerify}),
		patient: o.Patient,
		log:     o.Log,
		now:     o.Now,
		wait:    o.Wait,
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("upstream", o.Name)
	if r.now == nil {
		r.now = time.Now
	}
	if r.wait == nil {
		r.wait = sleep
	}
	r.auth = newAuth(r, o.Keychain)
	return r, nil
}

// Name is the registry's name as images have it.
func (r *Registry) Name() string { return r.name }

// Host is the host[:port] that is connected to.
func (r *Registry) Host() string { return r.address.host }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle finds out whether HTTPS or, where that is allowed and HTTPS is not spoken, HTTP is spoken.
func (r *Registry) settle(ctx context.Context) error {
	if !r.address.undecided.Load() {
		return nil
	}
	_, err := r.schemes.do(ctx, "", func() (struct{}, error) {
		if !r.address.undecided.Load() {
			return struct{}{}, nil
		}
		err := r.probe(ctx)
		if err != nil && ctx.Err() == nil && !isTimeout(err) && !isUntrusted(err) {
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

// probe reports whether anything answers. Nobody else uses the wire before the scheme is settled.
func (r *Registry) probe(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url("", nil), nil)
	if err != nil {
		return err
	}
	resp, err := r.wire.hop(req, headerTimeout)
	if err != nil {
		return err
	}
	discard(resp.Body)
	return nil
}

// url is that of a path below /v2/.
func (r *Registry) url(path string, query url.Values) string {
	u := url.URL{Scheme: r.address.scheme(), Host: r.address.host, Path: "/v2/" + path, RawQuery: query.Encode()}
	return u.String()
}

// about names the registry in an error of this side: it is nothing the registry said.
func (r *Registry) about(subject string, err error) error {
	return fmt.Errorf("%s: %s: %w", r.name, subject, err)
}
