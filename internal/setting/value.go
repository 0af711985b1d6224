package setting

import (
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

// Parser parses the text of the setting with the given name. Its errors are of type Error.
type Parser[T any] func(name, text string) (T, error)

// value is the pflag.Value of a setting whose text is parsed once, wherever it comes from.
type value[T any] struct {
	to    *T
	name  string
	text  string // what was parsed, for the help
	parse Parser[T]
}

// Add adds a flag with the default text, which parse must accept.
func Add[T any](f *pflag.FlagSet, to *T, name, text, usage string, parse Parser[T]) {
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
	parse Parser[[]T]
}

// AddList adds a flag that may be repeated. One text may give several elements.
func AddList[T any](f *pflag.FlagSet, to *[]T, name, usage string, parse Parser[[]T]) {
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

// Each makes the parser of a list with one element in each text.
func Each[T any](parse Parser[T]) Parser[[]T] {
	return func(name, text string) ([]T, error) {
		parsed, err := parse(name, text)
		if err != nil {
			return nil, err
		}
		return []T{parsed}, nil
	}
}

// SomeOf parses words of a list, with commas between them.
func SomeOf[T ~string](known ...T) Parser[[]T] {
	return func(name, text string) (all []T, err error) {
		for s := range strings.SplitSeq(text, ",") {
			word := T(strings.TrimSpace(s))
			if !slices.Contains(known, word) {
				var words []string
				for _, k := range known {
					words = append(words, string(k))
				}
				return nil, Errorf("%s %.100q: want some of %s", name, s, strings.Join(words, ", "))
			}
			all = append(all, word)
		}
		return all, nil
	}
}

// OneOf parses a word; want lists the known ones for people.
func OneOf[T any](want string, known map[string]T) Parser[T] {
	return func(name, text string) (T, error) {
		v, ok := known[text]
		if !ok {
			return v, Errorf("%s %q: want %s", name, text, want)
		}
		return v, nil
	}
}

// Size parses a number of bytes within bounds.
func Size(least, most uint64) Parser[int64] {
	return func(name, text string) (int64, error) {
		n, err := humanize.ParseBytes(text)
		if err != nil || n < least || n > most {
			return 0, Errorf("%s %.100q: want a size, such as 500MB or 4GB", name, text)
		}
		if n > 0 && n < 1<<20 && strings.Trim(strings.TrimSpace(text), "0123456789") == "" { // nobody means so few bytes
			unit := "GB"
			if n > 100 {
				unit = "MB"
			}
			return 0, Errorf("%s %q is %d bytes: did you mean %[3]d%s?", name, text, n, unit)
		}
		return int64(min(n, math.MaxInt64)), nil
	}
}

// Duration parses a duration that is not shorter than least; want describes it for people.
func Duration(least time.Duration, want string) Parser[time.Duration] {
	return func(name, text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d < least {
			return 0, Errorf("%s %.100q: want a duration, such as %s", name, text, want)
		}
		return d, nil
	}
}

// Address accepts HOST:PORT with a number for the port.
func Address(name, text string) (string, error) {
	_, port, err := net.SplitHostPort(text)
	if err != nil || notPort(port) {
		return "", Errorf("%s %q: want HOST:PORT, with a number for the port", name, text)
	}
	return text, nil
}

func notPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err != nil
}

// Level parses a level of the log.
func Level(name, text string) (level slog.Level, err error) {
	if level.UnmarshalText([]byte(text)) != nil {
		return 0, Errorf("%s %q: want debug, info, warn or error", name, text)
	}
	return level, nil
}
