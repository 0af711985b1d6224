package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/flight"
)

const (
	headerTimeout = 30 * time.Second
	makeTimeout   = 5 * time.Minute // for the header of a manifest or a blob, which a registry may have to make or fetch first
	maxRedirects  = 9               // a nixreg that is not ready sends eight, a proxy in front of it one
)

var slow = fetch.Slow{Stall: 60 * time.Second, Limit: 2 * time.Minute, Bytes: 512 << 10}

// server has the things that requests to the registry and requests for its tokens share.
type server struct {
	name    string
	address *address
	client  *fetch.Client
	calls   *flight.Group // that find the scheme, and that get tokens
	log     *slog.Logger
	now     func() time.Time
}

// settle finds out whether the registry speaks HTTPS. If it does not, and plain HTTP is allowed, HTTP is used.
func (s *server) settle(ctx context.Context) error {
	if !s.address.undecided.Load() {
		return nil
	}
	_, err := flight.Once(ctx, s.calls, "scheme", func(ctx context.Context) (struct{}, error) {
		if !s.address.undecided.Load() {
			return struct{}{}, nil
		}
		err := s.probe(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fetch.ErrTimeout) && !errors.Is(err, fetch.ErrCertificate) {
			s.address.plain.Store(true)
			if s.probe(ctx) == nil {
				err = nil
				s.log.WarnContext(ctx, "registry speaks no HTTPS: plain HTTP is used")
			} else {
				s.address.plain.Store(false)
			}
		}
		if err == nil {
			s.address.undecided.Store(false)
		}
		return struct{}{}, err
	})
	return err
}

// probe is nil if there is any answer. No other request is sent before the scheme is settled.
func (s *server) probe(ctx context.Context) error {
	req := (&http.Request{Method: http.MethodGet, URL: s.url("", nil), Header: http.Header{}}).WithContext(ctx)
	stay := func(*http.Response) bool { return true }
	resp, err := s.client.Send(fetch.Request{Request: req, Wait: headerTimeout, Stay: stay})
	if e := (*fetch.Error)(nil); errors.As(err, &e) && e.Status != 0 && e.Kind == nil {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// url returns the URL of a path below /v2/.
func (s *server) url(path string, query url.Values) *url.URL {
	u := s.address.base()
	u.Path, u.RawQuery = "/v2/"+path, query.Encode()
	return u
}

// about adds the registry and the subject to an error that is no answer of the registry.
func (s *server) about(subject string, err error) error {
	return fmt.Errorf("%s: %s: %w", s.name, subject, err)
}
