// Package setting reads settings from flags, variables of the environment and a YAML file into typed values. The text of each is
// parsed once, wherever it comes from.
//
// It owns the order of the three, the forms that values have, and what is said of a wrong one: which setting, where it is, what
// is wanted. It must not know which settings there are.
package setting

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixreg/nixreg/internal/spell"
)

// Setting is one that the environment and the file can have too. Its name is that of its flag and of its key in the file.
type Setting struct {
	Name  string
	Kind  Kind
	Split func(string) []string // splits a list in a variable
	// Others are what other programs call it, for errors about an unknown key.
	Others []string
}

// Meant returns the name of the setting that an unknown name was meant to be; "" if none is near.
func Meant(name string, known []Setting) string {
	folded := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	names := make([]string, len(known))
	for i, s := range known {
		if slices.Contains(s.Others, folded) {
			return s.Name
		}
		names[i] = s.Name
	}
	return spell.Near(name, slices.Values(names))
}

// Kind is the type of a setting in the file.
type Kind uint8

// The kinds of settings. A list is one of strings.
const (
	Text Kind = iota
	List
	Number
	Toggle
)

// Variable is the name of the setting's variable.
func (s Setting) Variable(prefix string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Error is the error for a value that a setting cannot have. Its text begins with the name of the setting.
type Error string

func (e Error) Error() string { return string(e) }

// Errorf makes an Error.
func Errorf(format string, args ...any) error {
	return Error(fmt.Sprintf(format, args...))
}

// WrongType is the error for a value that the type of a flag does not have.
func WrongType(f *pflag.Flag, value string) error {
	want := "a number"
	switch f.Value.Type() {
	case "bool":
		want = "true or false"
	case "duration":
		want = "a duration, such as 20s or 1m"
	}
	return fmt.Errorf("%s %.100q: want %s", f.Name, value, want)
}
