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
	readTimeout       = 20 * time.Second // for a whole request; no answer needs a body
	maxBody           = 256 << 10        // bytes that are read so that the connection can go on; net/http gives up behind as many
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10

	// stopTimeout is how long the pulls that run at a signal may take to end; systemd is told of a minute more.
	stopTimeout = 9 * time.Minute

	// twice is for how long one signal may arrive more than once: timeout(1) and some supervisors send it to the process
	// and to its group.
	twice = 500 * time.Millisecond
)

// httpServer is an http.Server that ends in two steps.
type httpServer struct {
	http    http.Server
	ctx     context.Context // of all requests
	cancel  context.CancelFunc
	log     *slog.Logger
	twice   time.Duration
	stop    time.Duration // bound of a graceful end
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
		// No WriteTimeout: a pull takes as long as it takes, and the handler sees to those that stand still.
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

// passBody reads the body of a request, which no answer needs, and then lifts the read deadline, which would end the request
// while the answer is sent. A body that does not come in time, or not well-formed, is the end of the request. One that is too
// large, or waits to be asked for, stays unread: the connection ends with the answer, and within the deadline.
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
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a closed connection is left to the answer
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

// run serves until the first signal, then lets the running requests end; a second signal ends them too.
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

// finish waits for the running requests, for another signal, or until the requests have had their time.
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
