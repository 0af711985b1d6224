package main

import (
	"context"
	"io"
	"log/slog"
	"os"
)

// program is all of nixreg and everything it takes from its surroundings but files and the network.
type program struct {
	args           []string
	lookupEnv      func(string) (string, bool)
	signals        <-chan os.Signal // to stop
	reload         <-chan os.Signal // to read anew what may have changed
	stdout, stderr io.Writer
}

// untilSignal returns a context that ends at the first signal; the caller calls stop.
func (p *program) untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		select {
		case <-p.signals:
			stop()
		case <-p.reload: // there is nothing to read anew: it means what it means to other programs
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// logger writes to stderr as the settings say.
func (p *program) logger(level slog.Level, json bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if json {
		return slog.New(slog.NewJSONHandler(p.stderr, o))
	}
	return slog.New(slog.NewTextHandler(p.stderr, o))
}
