package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// lines is a log handler for people who wait for a command: one line for each record. Attributes of With are left out.
type lines struct {
	w     io.Writer // one Write for each line
	quiet bool      // only warnings
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || level >= slog.LevelInfo && !l.quiet
}

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("nixreg: ")
	if r.Level >= slog.LevelWarn {
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message)
	between, end := " (", ""
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, "%s%s %s", between, a.Key, plain(a.Value.Resolve().String()))
		between, end = ", ", ")"
		return true
	})
	_, err := io.WriteString(l.w, b.String()+end+"\n")
	return err
}

// plain makes text of others safe for a terminal: it is quoted if it has control characters or quotes.
func plain(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *lines) WithGroup(string) slog.Handler { return l }
