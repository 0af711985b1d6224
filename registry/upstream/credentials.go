package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixreg/nixreg/internal/fetch"
)

const (
	// keychainTimeout is for how long a keychain is waited for: it may be a program that asks somebody.
	keychainTimeout = 30 * time.Second
	// credentialsAge is how old credentials must be to be asked for again after they were refused; those of helpers expire.
	credentialsAge = time.Minute
	// failureAge is how old a keychain's failure must be to ask again: each question may start a program.
	failureAge = 10 * time.Second
)

// ErrCredentials is matched by the error for credentials that a keychain does not give, or not in time. It matches
// nothing else, whatever the keychain's error does. No *[Error] matches it: it is nobody's answer.
var ErrCredentials = errors.New("no credentials")

type credentialsError struct{ text string }

func (e *credentialsError) Error() string { return e.text }

func (e *credentialsError) Is(target error) bool { return target == ErrCredentials }

// credentials are those of one registry, once a keychain was asked for them.
type credentials struct {
	keychain authn.Keychain // nil: anonymous
	target   target
	now      func() time.Time

	mu   sync.Mutex // guards last
	last *lookup    // nil: none that counts
}

// lookup is one question to the keychain. found, err and at are set before done is closed.
type lookup struct {
	late  <-chan struct{} // closed when it has taken too long
	done  chan struct{}
	found *authn.AuthConfig
	err   error
	at    time.Time
}

// age is how old the answer is, -1 if there is none yet.
func (l *lookup) age(now time.Time) time.Duration {
	select {
	case <-l.done:
		return max(0, now.Sub(l.at))
	default:
		return -1
	}
}

// get returns the credentials. An error matches ErrCredentials, or is that of ctx.
func (c *credentials) get(ctx context.Context) (*authn.AuthConfig, error) {
	if c.keychain == nil {
		return &authn.AuthConfig{}, nil
	}
	l := c.join(ctx)
	select {
	case <-l.done:
	case <-l.late: // for an answer in time too
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-l.done:
		return l.found, l.err
	default:
		return nil, c.failed(fmt.Sprintf("the keychain takes longer than %v", keychainTimeout))
	}
}

func (c *credentials) failed(why string) error {
	return &credentialsError{fmt.Sprintf("credentials for %s: %s", c.target, why)}
}

// join returns the lookup that counts, a new one if need be.
func (c *credentials) join(ctx context.Context) *lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.last; l == nil || l.age(c.now()) >= failureAge && l.err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keychainTimeout) // it is for everybody
		c.last = &lookup{late: ctx.Done(), done: make(chan struct{})}
		go c.ask(ctx, cancel, c.last)
	}
	return c.last
}

// ask runs until the keychain answers, which no one can make it do. There is one at a time, as long as that may be: it
// counts until it is done.
func (c *credentials) ask(ctx context.Context, cancel context.CancelFunc, l *lookup) {
	defer cancel()
	found, err := authn.Resolve(ctx, c.keychain, c.target)
	if err == nil {
		l.found, err = authn.Authorization(ctx, found)
	}
	if err != nil { // whatever it matches is not the registry's
		l.err = c.failed(fetch.Printable(err.Error()))
	}
	l.at = c.now()
	close(l.done)
}

// refused forgets the credentials, unless they are new.
func (c *credentials) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && c.last.age(c.now()) >= credentialsAge {
		c.last = nil
	}
}
