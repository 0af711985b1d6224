package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
)

// serve starts a server on the loopback whose handler is told which request it is, from 1 on.
func serve(t *testing.T, h func(n int, w http.ResponseWriter, r *http.Request)) *httptest.Server {
	t.Helper()
	count := make(chan int, 1)
	count <- 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := <-count + 1
		count <- n
		h(n, w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// fake is a client that does not really wait; slept has what it would have waited.
type fake struct {
	*Client
	slept []time.Duration
}

func client(t *testing.T, address string, more ...func(*Options)) *fake {
	t.Helper()
	return clientWith(t, fetch.Options{}, address, more...)
}

// clientWith has options of the requests, too.
func clientWith(t *testing.T, requests fetch.Options, address string, more ...func(*Options)) *fake {
	t.Helper()
	l, rest, err := ParseLocation(address)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%s: %v, %v", address, rest, err)
	}
	o := Options{Location: l, Log: slog.New(slog.DiscardHandler)}
	for _, f := range more {
		f(&o)
	}
	c, err := newClient(t.Context(), o, requests)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	f := &fake{Client: c}
	c.sleep = func(ctx context.Context, d time.Duration) error {
		f.slept = append(f.slept, d)
		return ctx.Err()
	}
	return f
}

// cut ends an answer in the middle.
func cut(w http.ResponseWriter) {
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}
