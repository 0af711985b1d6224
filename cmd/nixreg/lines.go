package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// lines is a log for those who wait for a command: a line for each thing, and no more in it than they need. What is the
// same in all lines, by With, is left out.
type lines struct {
	w     io.Writer // is written a line at a time
	quiet bool      // warnings alone
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

// plain is a text from outside as a terminal may get it: quoted, unless that is needless.
func plain(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *lines) WithGroup(string) slog.Handler { return l }
