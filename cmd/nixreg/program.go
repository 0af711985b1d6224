package main

import (
	"context"
	"io"
	"log/slog"
	"os"
)

// program is the process, as far as commands use it: arguments, environment, signals and streams.
type program struct {
	args           []string
	environ        []string // NAME=VALUE, for names that are no setting
	lookupEnv      func(string) (string, bool)
	signals        <-chan os.Signal // to stop
	reload         <-chan os.Signal // to read definition files again
	stdout, stderr io.Writer
}

// untilSignal returns a context that is cancelled by the first signal. The caller calls stop.
func (p *program) untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		select {
		case <-p.signals:
			stop()
		case <-p.reload: // SIGHUP ends a command that has nothing to reload
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// logger returns a log on stderr.
func (p *program) logger(level slog.Level, json bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if json {
		return slog.New(slog.NewJSONHandler(p.stderr, o))
	}
	return slog.New(slog.NewTextHandler(p.stderr, o))
}
