package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10

	// twice is for how long one signal may arrive more than once: timeout(1) and some supervisors send it to the process
	// and to its group.
	twice = 500 * time.Millisecond
)

func (p *program) serveCommand() *cobra.Command {
	c := new(config)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the images of a Nix store to container clients",
		Args:  cobra.NoArgs,
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
	ls, err := listen(ctx, c.listen) // first: it is what fails most, and fails fast
	if err != nil {
		return err
	}
	defer ls.close()
	dir, err := c.dataDir()
	if err != nil {
		return err
	}
	data, err := openDataDir(dir, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.close()) }()
	made, err := servedSource(c, data, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.close()) }()
	announce(ls, c.listen, made.stores, log)
	return newServer(ctx, handler(made.source, c.serveAs, log), log).run(ls, p.signals)
}

func announce(ls listeners, addr string, stores []string, log *slog.Logger) {
	at := ls.hostPort(addr)
	log.Info("serving "+strings.Join(stores, " and ")+" on http://"+at, "try", "docker pull "+at+"/hello")
	if !ls.loopback() {
		log.Warn("whoever reaches this address can read the whole store: it is not a loopback address, and nixreg asks for no password", "listen", addr)
	}
}

// server is an http.Server that ends in two steps.
type server struct {
	http   http.Server
	ctx    context.Context // of all requests
	cancel context.CancelFunc
	log    *slog.Logger
	twice  time.Duration
}

func newServer(ctx context.Context, h http.Handler, log *slog.Logger) *server {
	s := &server{log: log, twice: twice}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.http = http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// No WriteTimeout: a pull takes as long as it takes, and the handler sees to those that stand still.
	}
	return s
}

// run serves until the first signal, then lets the running requests end; a second signal ends them too.
func (s *server) run(ls listeners, signals <-chan os.Signal) error {
	defer s.cancel()
	failed := make(chan error, len(ls))
	for _, l := range ls {
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

// finish waits for the running requests, or for another signal.
func (s *server) finish(signals <-chan os.Signal) error {
	first := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- s.http.Shutdown(context.Background()) }()
	for {
		select {
		case err := <-ended:
			s.log.Info("stopped")
			return err
		case sig := <-signals:
			if time.Since(first) < s.twice {
				continue
			}
			s.log.Warn("stopped at once: running pulls are cut off", "signal", sig.String())
			s.cancel()
			return s.http.Close()
		}
	}
}
