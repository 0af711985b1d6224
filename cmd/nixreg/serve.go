package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
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

func (p *program) serveCommand() *cobra.Command {
	c := new(config)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the images of a Nix store to container clients",
		Long: `Serve the images of a Nix store to container clients, until SIGTERM.

Every flag has a variable, too, NIXREG_LISTEN for --listen, and a key in the file of --config. A flag wins over its variable,
that over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return p.serve(cmd.Context(), c)
		},
	}
	c.sourceFlags(cmd, "info")
	c.serverFlags(cmd)
	return cmd
}

// serve runs until a signal, or an error that ends it.
func (p *program) serve(ctx context.Context, c *config) (err error) {
	log := p.logger(c)
	fronts, err := listenAll(ctx, c) // first: it is what fails most, and fails fast
	if err != nil {
		return err
	}
	defer fronts.close()
	dir, err := c.dataDir()
	if err != nil {
		return err
	}
	data, err := openDataDir(dir, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.close()) }()
	made, err := servedSource(ctx, c, data, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.close()) }()
	fronts.announce(made, log)
	for i := range fronts {
		fronts[i].handler = made.handler(fronts[i].mirror, c.serveAs, c.wait, log)
	}
	ctx, stop := context.WithCancel(ctx)
	var reloading sync.WaitGroup
	reloading.Go(func() { p.reloadOnSignal(ctx, made, log) })
	defer reloading.Wait()
	defer stop()
	return newServer(ctx, log).run(fronts, p.signals)
}

// reloadOnSignal reads definition files anew whenever it is asked to, until ctx ends.
func (p *program) reloadOnSignal(ctx context.Context, made *parts, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.reload:
			made.source.Reload(ctx)
			log.Info("definition files were read anew")
		}
	}
}

// front is what one address serves: everything, or one mirror alone.
type front struct {
	listeners
	addr    string // as it was asked for
	mirror  string // "" for everything
	handler http.Handler
}

type fronts []front

// listenAll opens all addresses that are asked for, the main one first.
func listenAll(ctx context.Context, c *config) (fronts, error) {
	all := fronts{{addr: c.listen}}
	for _, l := range c.mirrorListen {
		all = append(all, front{addr: l.addr, mirror: l.mirror})
	}
	for i, f := range all {
		ls, err := listen(ctx, f.addr)
		if err != nil {
			all[:i].close()
			if f.mirror != "" {
				return nil, fmt.Errorf("mirror-listen %s: %w", f.addr, err)
			}
			return nil, fmt.Errorf("listen %s: %w", f.addr, err)
		}
		all[i].listeners = ls
	}
	return all, nil
}

func (fs fronts) close() {
	for _, f := range fs {
		f.listeners.close()
	}
}

func (fs fronts) announce(made *parts, log *slog.Logger) {
	for _, f := range fs {
		at := f.hostPort(f.addr)
		if f.mirror != "" {
			log.Info("serving the mirror of " + f.mirror + " alone on http://" + at)
		} else if made.nameless() {
			log.Info("serving " + strings.Join(made.names(), " and ") + " on http://" + at)
			log.Info("packages have no names: " + noNames)
		} else if len(made.stores) > 0 {
			log.Info("serving "+strings.Join(made.names(), " and ")+" on http://"+at, "try", "docker pull "+at+"/hello")
		} else {
			log.Info("serving " + strings.Join(made.names(), " and ") + " on http://" + at)
		}
		if !f.loopback() {
			log.Warn("whoever reaches this address can read all that is served: it is not a loopback address, and nixreg asks for no password", "listen", f.addr)
			if made.builds != "" && f.mirror == "" {
				log.Warn("whoever reaches it can have this machine evaluate and build any attribute of "+made.builds, "listen", f.addr)
			}
		}
	}
}

// server is an http.Server that ends in two steps.
type server struct {
	http    http.Server
	ctx     context.Context // of all requests
	cancel  context.CancelFunc
	log     *slog.Logger
	twice   time.Duration
	stop    time.Duration // bound of a graceful end
	running atomic.Int64  // requests
}

func newServer(ctx context.Context, log *slog.Logger) *server {
	s := &server{log: log, twice: twice, stop: stopTimeout}
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

// frontKey is the key under which a request's context has the handler of its listener.
type frontKey struct{}

func (s *server) serveFront(w http.ResponseWriter, r *http.Request) {
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
func (s *server) run(fs fronts, signals <-chan os.Signal) error {
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
func (s *server) finish(signals <-chan os.Signal) error {
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
