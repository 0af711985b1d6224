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
	// keychainTimeout is how long a request waits for the keychain, which may be a program that asks a person.
	keychainTimeout = 30 * time.Second
	// credentialsAge is the age from which refused credentials are asked for again: those of helper programs expire.
	credentialsAge = time.Minute
	// failureAge is the time between a failure of the keychain and the next question: each question may start a program.
	failureAge = 10 * time.Second
)

// ErrCredentials is matched by the error of a keychain that fails, or does not answer in time. That error matches nothing else,
// and is no *[Error]: no server has answered.
var ErrCredentials = errors.New("no credentials")

type credentialsError struct{ text string }

func (e *credentialsError) Error() string { return e.text }

func (e *credentialsError) Is(target error) bool { return target == ErrCredentials }

// credentials asks a keychain for the credentials of one registry, and keeps them.
type credentials struct {
	keychain authn.Keychain // nil: anonymous
	target   target
	now      func() time.Time

	mu   sync.Mutex // guards last
	last *lookup    // nil: the keychain must be asked
}

// lookup is one question to the keychain. The fields found, err and at are set before done is closed.
type lookup struct {
	late  <-chan struct{} // closed after keychainTimeout
	done  chan struct{}
	found *authn.AuthConfig
	err   error
	at    time.Time
}

// age is the age of the answer, or -1 before there is one.
func (l *lookup) age(now time.Time) time.Duration {
	select {
	case <-l.done:
		return max(0, now.Sub(l.at))
	default:
		return -1
	}
}

// get returns the credentials. Its error matches ErrCredentials, or is that of ctx.
func (c *credentials) get(ctx context.Context) (*authn.AuthConfig, error) {
	if c.keychain == nil {
		return &authn.AuthConfig{}, nil
	}
	l := c.join(ctx)
	select {
	case <-l.done:
	case <-l.late: // also if the answer came in time
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

// join returns the current lookup. It starts one if there is none.
func (c *credentials) join(ctx context.Context) *lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.last; l == nil || l.age(c.now()) >= failureAge && l.err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keychainTimeout) // other requests use the answer, too
		c.last = &lookup{late: ctx.Done(), done: make(chan struct{})}
		go c.ask(ctx, cancel, c.last)
	}
	return c.last
}

// ask runs until the keychain answers; nothing can end it earlier. Its lookup stays the current one that long, so there is one
// ask at a time.
func (c *credentials) ask(ctx context.Context, cancel context.CancelFunc, l *lookup) {
	defer cancel()
	found, err := authn.Resolve(ctx, c.keychain, c.target)
	if err == nil {
		l.found, err = authn.Authorization(ctx, found)
	}
	if err != nil { // the kinds of the keychain's error say nothing about the registry
		l.err = c.failed(fetch.Printable(err.Error()))
	}
	l.at = c.now()
	close(l.done)
}

// refused forgets the credentials if they are older than credentialsAge.
func (c *credentials) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && c.last.age(c.now()) >= credentialsAge {
		c.last = nil
	}
}
