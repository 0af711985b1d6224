package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
)

const (
	length = 200_000
	half   = 100_000
)

func content() string {
	var b strings.Builder
	for i := 0; b.Len() < length; i++ {
		fmt.Fprintf(&b, "%07d ", i)
	}
	return b.String()[:length]
}

// blob reads a blob that h serves at a registry of its own.
func blob(t *testing.T, n *network, url string, h http.Handler) (string, *Body, error) {
	t.Helper()
	n.Serve("r.lab.test:80", "9.9.9.9", h.ServeHTTP)
	n.Serve("r.lab.test:443", "9.9.9.9", h.ServeHTTP)
	r := n.open(Options{Name: "lab", URL: url})
	b, err := r.Blob(t.Context(), "a", hashOf(content()))
	if err != nil {
		return "", nil, err
	}
	t.Cleanup(func() { b.Close() })
	got, err := io.ReadAll(b)
	return string(got), b, err
}

// Who is patient waits for a network that is gone for a while, in the midst of a blob, but not for ever.
func TestOutage(t *testing.T) {
	for _, tc := range []struct {
		patient bool
		lasts   time.Duration
		fault   error
		ok      bool
	}{
		{true, 10 * time.Second, syscall.ENETUNREACH, true}, {true, 30 * time.Second, os.ErrDeadlineExceeded, true},
		{true, time.Hour, syscall.ENETUNREACH, false}, {true, time.Hour, os.ErrDeadlineExceeded, false}, {false, 10 * time.Second, syscall.ENETUNREACH, false},
		{true, 10 * time.Second, nil, true}, {true, time.Hour, nil, false},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				var back time.Time
				c := &memnet.Cutter{Data: content(), Cuts: []int{half}}
				n.Serve("r.lab.test:80", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if back.IsZero() {
						back = time.Now().Add(tc.lasts)
					} else if time.Now().Before(back) {
						w.WriteHeader(http.StatusBadGateway) // where it is the registry alone that is gone
						return
					}
					c.ServeHTTP(w, r)
				})
				n.options.Connect = func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
					if tc.fault == nil || !time.Now().Before(back) {
						return n.Connect(ctx, d, network, addr)
					}
					if tc.fault == os.ErrDeadlineExceeded {
						time.Sleep(d.Timeout)
					}
					return nil, &net.OpError{Op: "dial", Net: network, Err: tc.fault}
				}
				r := n.open(Options{Name: "lab", URL: "http://r.lab.test", Patient: tc.patient})
				b, err := r.Blob(t.Context(), "a", hashOf(c.Data))
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				start := time.Now()
				got, err := io.ReadAll(b)
				if took := time.Since(start); (err == nil) != tc.ok || tc.ok && string(got) != c.Data || took > 2*time.Minute {
					t.Errorf("%d bytes after %v: %v", len(got), took, err)
				}
			})
		})
	}
}

// The end of the context is an error of its own.
func TestContextEnds(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:80", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Length", "10")
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})
		r := n.open(Options{Name: "lab", URL: "http://r.lab.test"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var e *Error
		b, err := r.Blob(ctx, "a", hashOf("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) {
			t.Error(err)
		}
		if _, err := r.Stat(ctx, "a", hashOf("x")); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) {
			t.Error(err)
		}
	})
}

func TestNoBlob(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", status(404, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`))
		r := n.open(Options{Name: "r.lab.test"})
		if _, err := r.Blob(t.Context(), "a", hashOf("x")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "BLOB_UNKNOWN") {
			t.Error(err)
		}
		if _, err := r.Stat(t.Context(), "a", hashOf("x")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if _, err := r.Blob(t.Context(), "a", v1.Hash{}); !errors.Is(err, fs.ErrInvalid) {
			t.Error(err)
		}
	})
}
