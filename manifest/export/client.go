package export

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/internal/oci"
)

const maxReason = 500 // bytes of an error of a registry

// transport returns the HTTP transport of a push. closeIdle closes its connections.
func (t Target) transport() (_ http.RoundTripper, closeIdle func()) {
	base := remote.DefaultTransport.(*http.Transport).Clone()
	if t.dial != nil {
		base.DialContext = t.dial
	}
	if t.SkipVerify {
		base.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		return base, base.CloseIdleConnections
	}
	return httpsOnly{base}, base.CloseIdleConnections
}

// httpsOnly refuses plain HTTP to other machines. go-containerregistry falls back to plain HTTP for private addresses, and
// follows the redirects of a registry.
type httpsOnly struct{ http.RoundTripper }

func (t httpsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !oci.IsLoopback(r.URL.Host) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errkind.Invalid("want HTTPS")
	}
	return t.RoundTripper.RoundTrip(r)
}

// endingKeychain stops waiting when a context ends. A credential helper is a program that may ask the user, or hang, and
// go-containerregistry gives it no context. An answer that comes later is dropped.
type endingKeychain struct{ authn.Keychain }

var _ authn.ContextKeychain = endingKeychain{}

func (k endingKeychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	if k.Keychain == nil {
		return authn.Anonymous, nil
	}
	type result struct {
		auth authn.Authenticator
		err  error
	}
	resolved := make(chan result, 1)
	go func() {
		auth, err := authn.Resolve(ctx, k.Keychain, r)
		resolved <- result{auth, err}
	}()
	select {
	case r := <-resolved:
		return r.auth, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refusal returns the error of a registry with a text of one short line. It matches [fs.ErrPermission] where the registry
// denied access.
func refusal(err error) error {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, err.Error())
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	e := &registryError{text: text, cause: err}
	if wire := (*transport.Error)(nil); errors.As(err, &wire) {
		e.denied = wire.StatusCode == http.StatusUnauthorized || wire.StatusCode == http.StatusForbidden
	}
	return e
}

// registryError is an error of a registry.
type registryError struct {
	text   string
	cause  error
	denied bool
}

func (e *registryError) Error() string        { return e.text }
func (e *registryError) Unwrap() error        { return e.cause }
func (e *registryError) Is(target error) bool { return e.denied && target == fs.ErrPermission }
