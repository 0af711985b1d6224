package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// helper is a keychain that answers as it is told to, and counts.
type helper struct {
	answer func(n int) error // of the nth question
	mu     sync.Mutex
	asked  int
}

func (h *helper) Resolve(authn.Resource) (authn.Authenticator, error) {
	h.mu.Lock()
	h.asked++
	n := h.asked
	h.mu.Unlock()
	if err := h.answer(n); err != nil {
		return nil, err
	}
	return authn.FromConfig(authn.AuthConfig{Username: "alice", Password: "secret"}), nil
}

func (h *helper) questions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// The keychain's own trouble is not an answer of the registry.
func TestKeychainFails(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		h := n.Serve("r.lab.test:443", "9.9.9.9", guarded(`Basic realm="x"`, always("never")))
		k := &helper{answer: func(int) error { return fmt.Errorf("helper:\n%w", fs.ErrNotExist) }}
		_, err := n.open(Options{Name: "r.lab.test", Keychain: k}).Manifest(t.Context(), "a", "b")
		var e *Error
		if !errors.Is(err, ErrCredentials) || errors.As(err, &e) || errors.Is(err, fs.ErrNotExist) || len(h.Requests()) != 1 {
			t.Errorf("%v after %q", err, h.Paths())
		}
		if want := "r.lab.test: a:b: credentials for r.lab.test: helper: file does not exist"; err.Error() != want {
			t.Errorf("%q; want %q", err, want)
		}
	})
}

// A keychain that failed is left alone for a while.
func TestKeychainFailsForAWhile(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(`Basic realm="x"`, always(aliceBasic)))
		k := &helper{answer: func(n int) error {
			if n == 1 {
				return errors.New("locked")
			}
			return nil
		}}
		now := time.Unix(1, 0)
		r := n.open(Options{Name: "r.lab.test", Keychain: k, Now: func() time.Time { return now }})
		for _, after := range []time.Duration{0, 0, failureAge - 1} {
			now = now.Add(after)
			if _, err := r.Manifest(t.Context(), "a", "b"); !errors.Is(err, ErrCredentials) || k.questions() != 1 {
				t.Fatalf("%v, keychain asked %d times", err, k.questions())
			}
		}
		now = now.Add(1)
		for range 2 {
			if _, err := r.Manifest(t.Context(), "a", "b"); err != nil || k.questions() != 2 {
				t.Fatalf("%v, keychain asked %d times", err, k.questions())
			}
		}
	})
}

// A keychain that hangs is waited for, but not for ever, and is not asked again; what it says in the end counts.
func TestKeychainHangs(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(`Basic realm="x"`, always(aliceBasic)))
		release := make(chan struct{})
		k := &helper{answer: func(int) error { <-release; return nil }}
		r := n.open(Options{Name: "r.lab.test", Keychain: k})
		for _, want := range []time.Duration{keychainTimeout, 0} {
			start := time.Now()
			_, err := r.Manifest(t.Context(), "a", "b")
			if took := time.Since(start); !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), "longer than 30s") || took != want {
				t.Errorf("%v after %v; want %v", err, took, want)
			}
			time.Sleep(time.Hour)
		}
		if n := k.questions(); n != 1 {
			t.Errorf("keychain asked %d times", n)
		}
		close(release)
		synctest.Wait()
		if _, err := r.Manifest(t.Context(), "a", "b"); err != nil || k.questions() != 1 {
			t.Errorf("in the end: %v, keychain asked %d times", err, k.questions())
		}
	})
}

// Whoever leaves does not take the question along.
func TestOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		k := &helper{answer: func(int) error { <-release; return nil }}
		c := &credentials{keychain: k, now: time.Now}
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := c.get(ctx)
			left <- err
		}()
		synctest.Wait()
		stayed := make(chan error)
		go func() {
			_, err := c.get(t.Context())
			stayed <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) || errors.Is(err, ErrCredentials) {
			t.Error(err)
		}
		close(release)
		if err := <-stayed; err != nil || k.questions() != 1 {
			t.Errorf("%v, keychain asked %d times", err, k.questions())
		}
	})
}
