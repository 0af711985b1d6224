package main

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
)

// settingError is the error for a value that a setting cannot have. Its text begins with the name of the setting.
type settingError string

func (e settingError) Error() string { return string(e) }

func settingErrorf(format string, args ...any) error {
	return settingError(fmt.Sprintf(format, args...))
}

// wrongType is the error for a value that the type of a flag does not have.
func wrongType(f *pflag.Flag, value string) error {
	want := "a number"
	switch f.Value.Type() {
	case "bool":
		want = "true or false"
	case "duration":
		want = "a duration, such as 20s or 1m"
	}
	return fmt.Errorf("%s %.100q: want %s", f.Name, value, want)
}

// parser reads the text of the setting with the given name. Its errors are setting errors.
type parser[T any] func(name, text string) (T, error)

// value is the pflag.Value of a setting whose text is parsed once, wherever it comes from.
type value[T any] struct {
	to    *T
	name  string
	text  string // what was parsed, for the help
	parse parser[T]
}

// addValue adds a flag with the default text, which parse must accept.
func addValue[T any](f *pflag.FlagSet, to *T, name, text, usage string, parse parser[T]) {
	v := &value[T]{to: to, name: name, parse: parse}
	if err := v.Set(text); err != nil {
		panic(err)
	}
	f.Var(v, name, usage)
}

func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(v.name, text)
	if err != nil {
		return err
	}
	*v.to, v.text = parsed, text
	return nil
}

func (v *value[T]) String() string { return v.text }
func (v *value[T]) Type() string   { return "string" }

// values is the pflag.Value of a setting that may be repeated. One text may give several elements.
type values[T any] struct {
	to    *[]T
	name  string
	parse parser[[]T]
}

func addValues[T any](f *pflag.FlagSet, to *[]T, name, usage string, parse parser[[]T]) {
	f.Var(&values[T]{to, name, parse}, name, usage)
}

func (v *values[T]) Set(text string) error {
	parsed, err := v.parse(v.name, text)
	*v.to = append(*v.to, parsed...)
	return err
}

// Replace sets the whole list.
func (v *values[T]) Replace(texts []string) error {
	*v.to = nil
	for _, text := range texts {
		if err := v.Set(text); err != nil {
			return err
		}
	}
	return nil
}

func (v *values[T]) String() string { return "" } // the default
func (v *values[T]) Type() string   { return "stringArray" }

// each makes the parser of a list with one element in each text.
func each[T any](parse parser[T]) parser[[]T] {
	return func(name, text string) ([]T, error) {
		parsed, err := parse(name, text)
		if err != nil {
			return nil, err
		}
		return []T{parsed}, nil
	}
}

// someOf parses words of a list, with commas between them.
func someOf[T ~string](known ...T) parser[[]T] {
	return func(name, text string) (all []T, err error) {
		for s := range strings.SplitSeq(text, ",") {
			word := T(strings.TrimSpace(s))
			if !slices.Contains(known, word) {
				var words []string
				for _, k := range known {
					words = append(words, string(k))
				}
				return nil, settingErrorf("%s %.100q: want some of %s", name, s, strings.Join(words, ", "))
			}
			all = append(all, word)
		}
		return all, nil
	}
}

// oneOf parses a word; want lists the known ones for people.
func oneOf[T any](want string, known map[string]T) parser[T] {
	return func(name, text string) (T, error) {
		v, ok := known[text]
		if !ok {
			return v, settingErrorf("%s %q: want %s", name, text, want)
		}
		return v, nil
	}
}

// sizeFrom parses a number of bytes within bounds.
func sizeFrom(least, most uint64) parser[int64] {
	return func(name, text string) (int64, error) {
		n, err := humanize.ParseBytes(text)
		if err != nil || n < least || n > most {
			return 0, settingErrorf("%s %.100q: want a size, such as 500MB or 4GB", name, text)
		}
		return int64(min(n, math.MaxInt64)), nil
	}
}

// timeFrom parses a duration that is not shorter than least; want describes it for people.
func timeFrom(least time.Duration, want string) parser[time.Duration] {
	return func(name, text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d < least {
			return 0, settingErrorf("%s %.100q: want a duration, such as %s", name, text, want)
		}
		return d, nil
	}
}

// parseAddress accepts HOST:PORT with a number for the port.
func parseAddress(name, text string) (string, error) {
	_, port, err := net.SplitHostPort(text)
	if err != nil || !isPort(port) {
		return "", settingErrorf("%s %q: want HOST:PORT, with a number for the port", name, text)
	}
	return text, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func parseLevel(name, text string) (level slog.Level, err error) {
	if level.UnmarshalText([]byte(text)) != nil {
		return 0, settingErrorf("%s %q: want debug, info, warn or error", name, text)
	}
	return level, nil
}

// parseTTL parses a time for which tags are believed.
var parseTTL = timeFrom(1, "30s, 5m or 12h")

// assign sets a flag's value, whole lists at once.
func assign(v interface{ Set(string) error }, values []string) error {
	if l, ok := v.(interface{ Replace([]string) error }); ok {
		return l.Replace(values)
	}
	return v.Set(values[0])
}
