// Package server is nixreg as a value: it opens what the settings name, serves it, and closes it.
//
// It owns the choice of concrete stores, the data directory and its lock, base images that were fetched, the listeners, the
// end of a server in two steps, and all that runs beside requests. What an image is, package manifest knows; HTTP requests
// are package registry's. It must not know flags, variables, configuration files, or what a terminal is.
//
//	srv, err := server.New(ctx, server.Config{Data: dir, Demo: true, Listen: "localhost:5000", Wait: 20 * time.Second, Log: log})
//	defer srv.Close()
//	err = srv.Serve(ctx, signals, reload)
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/nixreg/nixreg/manifest"
)

// Server makes and serves images. Handler, MirrorHandler, Inspect and Export are safe for concurrent use.
type Server struct {
	*parts
	config Config
	fronts fronts
}

// New opens the addresses, the data directory, the stores, and all else that c names. The caller closes the server.
func New(ctx context.Context, c Config) (*Server, error) {
	fronts, err := listenAll(ctx, &c) // first: it fails most often, and fast
	if err != nil {
		return nil, err
	}
	p, err := openParts(ctx, &c)
	if err != nil {
		fronts.close()
		return nil, err
	}
	return &Server{p, c, fronts}, nil
}

// openParts opens the parts of a server. It changes the settings that depend on the data directory.
func openParts(ctx context.Context, c *Config) (*parts, error) {
	p, source, err := openSettings(ctx, c, c.Log)
	if err != nil {
		return nil, err
	}
	if err := p.openSource(source); err != nil {
		return nil, err
	}
	if c.Data == "" {
		return p, nil
	}
	if len(c.Images) > 0 { // without any the base images are those of another run
		if err := p.bases.Prune(p.source.Catalog().Bases()); err != nil {
			c.Log.Warn("base images that are not needed are not removed", "error", err)
		}
	}
	if err := p.openMirrors(c, c.Log); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// Close ends all that runs, closes what New opened, and unlocks the data directory. No request may be running.
func (s *Server) Close() error {
	s.fronts.close()
	return s.parts.close()
}

// Handler serves everything.
func (s *Server) Handler() http.Handler { return s.MirrorHandler("") }

// MirrorHandler serves the mirror of that name alone.
func (s *Server) MirrorHandler(name string) http.Handler {
	return s.parts.handler(name, s.config.ServeAs, s.config.Wait, s.config.Log)
}

// Serve serves the addresses of the settings until a signal or the end of ctx, and reads the definition files again at each
// reload. After the first signal running requests have nine minutes to end; after a second they are cut off.
func (s *Server) Serve(ctx context.Context, signals, reload <-chan os.Signal) error {
	s.fronts.announce(ctx, s.parts, s.config.Log)
	for i := range s.fronts {
		s.fronts[i].handler = s.MirrorHandler(s.fronts[i].mirror)
	}
	ctx, stop := context.WithCancel(ctx)
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-reload:
				s.source.Catalog().Reload(ctx)
				s.config.Log.Info("definition files were read anew")
			}
		}
	})
	defer reloading.Wait()
	defer stop()
	return newHTTPServer(ctx, s.config.Log).run(s.fronts, signals)
}

func (fs fronts) announce(ctx context.Context, p *parts, log *slog.Logger) {
	for _, f := range fs {
		if !f.loopback() {
			log.Warn("whoever reaches this address can read all that is served: it is not a loopback address, and nixreg asks for no password", "listen", f.addr)
			if p.builds != "" && f.mirror == "" {
				log.Warn("whoever reaches it can have this machine evaluate and build any attribute of "+p.builds, "listen", f.addr)
			}
		}
		at := f.hostPort(f.addr)
		if f.mirror != "" {
			log.Info("serving the mirror of " + f.mirror + " alone on http://" + at)
		} else if p.nameless() {
			log.Info("serving " + strings.Join(p.names(), " and ") + " on http://" + at)
			log.Info("packages have no names: " + noNames)
		} else if len(p.stores) > 0 {
			p.announceExample(ctx, at, log)
		} else {
			log.Info("serving " + strings.Join(p.names(), " and ") + " on http://" + at)
		}
	}
}

// Check reports what is wrong with image files, and tells warn what is odd. The settings count but for Images and Data.
func Check(ctx context.Context, c Config, warn func(error), files ...string) (err error) {
	c.Images, c.Data = nil, "" // the files stand alone
	p, source, err := openSettings(ctx, &c, c.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	source.Warn = warn
	return manifest.Check(ctx, source, files...)
}
