package upstream

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// parseChallenge returns the challenge of a 401 to answer, and the one for Basic; nil means none. Bearer comes before Basic: a
// token may be had without credentials, and with a token the credentials are not sent with each request.
func parseChallenge(ctx context.Context, h http.Header) (best, basic *transport.Challenge) {
	var bearer *transport.Challenge
	for _, v := range h.Values("WWW-Authenticate") {
		switch ch := parseOne(ctx, v); {
		case ch == nil:
		case isScheme(ch, "basic") && basic == nil:
			basic = ch
		case isScheme(ch, "bearer") && (bearer == nil || bearer.Parameters["realm"] == ""):
			bearer = ch
		}
	}
	if bearer == nil || bearer.Parameters["realm"] == "" && basic != nil {
		return basic, basic
	}
	return bearer, basic
}

// parseOne reads one header. It returns nil for an unknown scheme.
func parseOne(ctx context.Context, value string) *transport.Challenge {
	// The library exports its parser only through Ping. So Ping gets an answer with this header.
	answer := func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusUnauthorized,
			Header:     http.Header{"Www-Authenticate": {value}},
			Body:       http.NoBody,
			Request:    r,
		}, nil
	}
	reg, err := name.NewRegistry("registry.invalid")
	if err != nil {
		return nil
	}
	ch, err := transport.Ping(ctx, reg, roundTripper(answer))
	if err != nil || !isScheme(ch, "basic") && !isScheme(ch, "bearer") {
		return nil
	}
	return ch
}

func isScheme(ch *transport.Challenge, scheme string) bool {
	return strings.EqualFold(ch.Scheme, scheme)
}

// access is what a token allows: to pull from a repository, and the other scopes that the registry wants.
type access struct {
	repo string
	more string // scopes, separated by blanks
}

const (
	maxScopes = 8
	maxScope  = 512 // bytes
)

// scopes are the scopes to ask a token server for. Some servers read the first one only.
func (a access) scopes() []string { return append(strings.Fields(a.more), pullScope(a.repo)) }

func pullScope(repo string) string { return "repository:" + repo + ":pull" }

// widen adds the scopes that the challenge of a refused token wants, and reports whether any is new. A registry may know the
// repository by another name, or have its own kinds of scopes.
func (a *access) widen(ch *transport.Challenge) bool {
	if a.more != "" {
		return false
	}
	var more []string
	for _, scope := range pullScopes(ch.Parameters["scope"]) {
		if scope != pullScope(a.repo) {
			more = append(more, scope)
		}
	}
	a.more = strings.Join(more, " ")
	return a.more != ""
}

// pullScopes are the scopes of a challenge, without those that allow more than a pull.
//
// Source: distribution, "Token Scope Documentation".
func pullScopes(s string) []string {
	var scopes []string
	for scope := range strings.FieldsSeq(s) {
		if rest, ok := strings.CutPrefix(scope, "repository:"); ok {
			colon := strings.LastIndexByte(rest, ':')
			if colon < 0 {
				continue
			}
			repo, actions := rest[:colon], rest[colon+1:]
			if !strings.Contains(","+actions+",", ",pull,") && actions != "*" {
				continue
			}
			scope = pullScope(repo)
		}
		if strings.HasPrefix(scope, "registry:") || strings.HasPrefix(scope, "repository(") || len(scope) > maxScope {
			continue
		}
		if scopes = append(scopes, scope); len(scopes) == maxScopes {
			break
		}
	}
	return scopes
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
