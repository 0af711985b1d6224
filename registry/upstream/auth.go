package upstream

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
)

const exchangeTimeout = 60 * time.Second

// auth finds the Authorization header that the registry wants.
type auth struct {
	*server
	credentials credentials
	tokens      tokens
	untrusted   sync.Once

	mu        sync.Mutex // guards challenge
	challenge *transport.Challenge
}

func newAuth(s *server, k authn.Keychain) *auth {
	return &auth{
		server:      s,
		credentials: credentials{keychain: k, target: keychainTarget(s.name, s.address), now: s.now},
		tokens:      tokens{lru.Cache[string, token]{Max: maxTokens}},
	}
}

// header is the Authorization header of a request. It is "" if there is none, or if the registry has not asked for one yet.
func (a *auth) header(ctx context.Context, to access) (string, error) {
	a.mu.Lock()
	ch := a.challenge
	a.mu.Unlock()
	if ch == nil {
		return "", nil
	}
	creds, err := a.credentials.get(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case creds.RegistryToken != "":
		return bearer(creds.RegistryToken), nil
	case isScheme(ch, "basic"):
		return basic(creds), nil
	}
	tok, err := a.token(ctx, ch, to)
	if err != nil {
		return "", err
	}
	return bearer(tok), nil
}

func bearer(token string) string { return "Bearer " + token }

func basic(c *authn.AuthConfig) string {
	switch {
	case c.Username != "" && c.Password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
	case c.Auth != "":
		return "Basic " + c.Auth
	}
	return ""
}

// refused takes the 401 that a request with this Authorization got. It reports whether another try makes sense, for which it
// may widen to. again: this is not the first 401 of the request.
func (a *auth) refused(ctx context.Context, h http.Header, to *access, authorization string, again bool) bool {
	ch, basic := parseChallenge(ctx, h)
	if ch == nil {
		return false
	}
	if basic != nil && a.withholds(ctx, ch) {
		ch = basic
	}
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if wider := ok && to.widen(ch); again && !wider {
		return false
	}
	ch.Insecure = a.address.plain.Load()
	a.tokens.drop(to.repo, token)
	a.credentials.refused()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenge = ch
	return true
}

// withholds reports whether there are credentials that the token server of a challenge must not get.
func (a *auth) withholds(ctx context.Context, ch *transport.Challenge) bool {
	creds, err := a.credentials.get(ctx)
	if err != nil || basic(creds) == "" {
		return false
	}
	realm, err := url.Parse(ch.Parameters["realm"])
	return err != nil || !a.trusts(realm)
}

// token returns a valid token. It asks for one if there is none.
func (a *auth) token(ctx context.Context, ch *transport.Challenge, to access) (string, error) {
	if tok := a.tokens.get(to, a.now()); tok != "" {
		return tok, nil
	}
	return flight.Once(ctx, a.calls, "token "+strings.Join(to.scopes(), " "), func(ctx context.Context) (string, error) {
		now := a.now()
		if tok := a.tokens.get(to, now); tok != "" { // another request has just got it
			return tok, nil
		}
		tok, err := a.exchange(ctx, ch, to)
		if err != nil {
			return "", err
		}
		value := cmp.Or(tok.AccessToken, tok.Token)
		a.tokens.put(to, value, tok.ExpiresIn, now)
		return value, nil
	})
}

// exchange asks the token server of a challenge for a token.
func (a *auth) exchange(ctx context.Context, ch *transport.Challenge, to access) (*transport.Token, error) {
	subject := "token for " + to.repo
	realm, err := url.Parse(ch.Parameters["realm"])
	if err != nil || realm.Hostname() == "" {
		return nil, a.nonsense(subject, http.StatusUnauthorized, errors.New("the challenge names no token server"))
	}
	if err := a.client.Check(realm); err != nil {
		return nil, &tokenError{subject, realm.Host, err}
	}
	creds, err := a.credentialsFor(ctx, realm)
	if err != nil {
		return nil, err
	}
	reg, err := name.NewRegistry(realm.Host) // so that the client alone judges the address
	if err != nil {
		return nil, a.nonsense(subject, http.StatusUnauthorized, fmt.Errorf("the token server %.100q is no host", realm.Host))
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	tok, err := transport.Exchange(ctx, reg, authn.FromConfig(*creds), roundTripper(a.ask), to.scopes(), ch)
	if e := (*fetch.Error)(nil); errors.As(err, &e) {
		return nil, &tokenError{subject, realm.Host, e}
	}
	if err != nil { // the library's text may have a secret that the server sent
		wrong := a.nonsense(subject, http.StatusOK, fmt.Errorf("%s answers with no token", realm.Host))
		wrong.TokenServer = true
		return nil, wrong
	}
	return tok, nil
}

// ask sends a request to a token server.
func (a *auth) ask(req *http.Request) (*http.Response, error) {
	resp, err := a.client.Send(fetch.Request{Request: req, Wait: headerTimeout})
	if e := (*fetch.Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotFound && e.Kind == nil && req.Method == http.MethodPost {
		// The server does not know OAuth 2. The library then asks by GET.
		return &http.Response{StatusCode: e.Status, Header: e.Header, Body: http.NoBody, Request: req}, nil
	}
	return resp, err
}

// credentialsFor returns the credentials for a token server. A server that must not get them gets none.
func (a *auth) credentialsFor(ctx context.Context, realm *url.URL) (*authn.AuthConfig, error) {
	creds, err := a.credentials.get(ctx)
	if err != nil || *creds == (authn.AuthConfig{}) || a.trusts(realm) {
		return creds, err
	}
	a.untrusted.Do(func() {
		a.log.WarnContext(ctx, "token server is someone else's: it gets no credentials", "server", realm.Host)
	})
	return &authn.AuthConfig{}, nil
}

// trusts reports whether a token server may have the registry's credentials.
func (a *auth) trusts(realm *url.URL) bool {
	addr := a.address
	own := addr.hostname()
	if isHub(own) {
		own = name.DefaultRegistry // its token server is at docker.io, also for hosts at docker.com
	}
	return (realm.Scheme == "https" || addr.plain.Load()) && sameParty(realm.Hostname(), own)
}
