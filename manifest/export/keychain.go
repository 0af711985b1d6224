package export

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
)

// endingKeychain stops waiting when a context ends: credentials may come from a program that asks somebody, or hangs,
// and go-containerregistry gives it no context. What it says then goes nowhere.
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
