package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 20 * time.Second // for a whole request with its body
	maxBody           = 256 << 10        // bytes of a body that are read to keep the connection; net/http has the same limit
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10

	// stopTimeout is the time that running pulls have after a signal. The systemd unit in the docs allows a minute more.
	stopTimeout = 9 * time.Minute

	// twice is the time within which a second signal counts as the first one: timeout(1) and some supervisors send a signal to
	// the process and to its group.
	twice = 500 * time.Millisecond
)

// httpServer is an http.Server that stops in two steps.
type httpServer struct {
	http    http.Server
	ctx     context.Context // parent of the context of each request
	cancel  context.CancelFunc
	log     *slog.Logger
	twice   time.Duration
	stop    time.Duration // timeout of a graceful stop
	running atomic.Int64  // requests
}

func newHTTPServer(ctx context.Context, log *slog.Logger) *httpServer {
	s := &httpServer{log: log, twice: twice, stop: stopTimeout}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.http = http.Server{
		Handler:           http.HandlerFunc(s.serveFront),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// No WriteTimeout: a pull may take hours. The handler ends writes that make no progress.
	}
	return s
}

// frontKey is the context key of the handler of a request's listener.
type frontKey struct{}

func (s *httpServer) serveFront(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Add(-1)
	if passBody(w, r) {
		r.Context().Value(frontKey{}).(http.Handler).ServeHTTP(w, r)
	}
}

// passBody reads and drops the body of a request, then removes the read deadline, which would otherwise end the request during
// the answer. A body that is late or malformed gets an error status. A body over maxBody, or one that waits for "100 Continue",
// is not read: the connection closes after the answer.
func passBody(w http.ResponseWriter, r *http.Request) (ok bool) {
	if r.ContentLength > maxBody || r.Header.Get("Expect") != "" {
		w.Header().Set("Connection", "close")
		return true
	}
	err := io.EOF
	if r.Body != http.NoBody {
		_, err = io.CopyN(io.Discard, r.Body, maxBody)
	}
	switch {
	case errors.Is(err, io.EOF):
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // if the connection is closed, writing the answer fails
		return true
	case err == nil:
		w.Header().Set("Connection", "close")
		return true
	}
	w.Header().Set("Connection", "close")
	status := http.StatusBadRequest
	if errors.Is(err, os.ErrDeadlineExceeded) {
		status = http.StatusRequestTimeout
	}
	http.Error(w, "the body of the request is not there: "+http.StatusText(status), status)
	return false
}

// run serves until the first signal, then waits for the running requests. A second signal cancels them.
func (s *httpServer) run(fs fronts, signals <-chan os.Signal) error {
	defer s.cancel()
	handlers := make(map[net.Listener]http.Handler)
	for _, f := range fs {
		for _, l := range f.listeners {
			handlers[l] = f.handler
		}
	}
	s.http.BaseContext = func(l net.Listener) context.Context {
		return context.WithValue(s.ctx, frontKey{}, handlers[l])
	}
	failed := make(chan error, len(handlers))
	for l := range handlers {
		go func() { failed <- s.http.Serve(l) }()
	}
	select {
	case err := <-failed:
		return errors.Join(err, s.http.Close())
	case <-s.ctx.Done():
	case sig := <-signals:
		s.log.Info("stopping: pulls that are running come to their end, a second signal cuts them off", "signal", sig.String())
	}
	return s.finish(signals)
}

// finish waits for the running requests, for a second signal, or for the timeout.
func (s *httpServer) finish(signals <-chan os.Signal) error {
	first := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.stop)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.http.Shutdown(ctx) }()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) {
				s.log.Warn("stopped: running requests had their time, and are cut off", "after", s.stop, "requests", s.running.Load())
				s.cancel()
				return s.http.Close()
			}
			s.log.Info("stopped")
			return err
		case sig := <-signals:
			if time.Since(first) < s.twice {
				continue
			}
			s.log.Warn("stopped at once: running requests are cut off", "signal", sig.String(), "requests", s.running.Load())
			s.cancel()
			cancel()
			<-ended
			return s.http.Close()
		}
	}
}
