package setting

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Origins are the places of settings that the command line does not set: a variable, or a line of the file.
type Origins map[string]string

// Fill gives the flags that the command line did not set their values from the environment, or else from the file. Settings
// without a flag are passed over. Variables begin with prefix; an empty one is none.
func Fill(flags *pflag.FlagSet, known []Setting, prefix string, lookupEnv func(string) (string, bool), file File) (Origins, error) {
	origins := make(Origins)
	for _, s := range known {
		f := flags.Lookup(s.Name)
		if f == nil || f.Changed {
			continue
		}
		values, origin := file.Values[s.Name], fmt.Sprintf("%s:%d", file.Name, file.lines[s.Name])
		if v, ok := lookupEnv(s.Variable(prefix)); ok && v != "" {
			values, origin = []string{v}, s.Variable(prefix)
			if s.Kind == List {
				values = s.Split(v)
			}
		}
		if values == nil {
			continue
		}
		origins[s.Name] = origin
		if err := assign(f.Value, values); err != nil {
			if own := Error(""); !errors.As(err, &own) {
				err = WrongType(f, values[0])
			}
			return nil, fmt.Errorf("%s: %w", origin, err)
		}
	}
	return origins, nil
}

// Locate puts the place of a setting in front of an error about it. The first word of the error is the name of the setting.
func (o Origins) Locate(err error) error {
	if err == nil {
		return nil
	}
	name := err.Error()
	if i := strings.IndexAny(name, " :"); i >= 0 {
		name = name[:i]
	}
	if origin, ok := o[name]; ok {
		return fmt.Errorf("%s: %w", origin, err)
	}
	return err
}

// assign sets a flag's value, whole lists at once.
func assign(v interface{ Set(string) error }, values []string) error {
	if l, ok := v.(interface{ Replace([]string) error }); ok {
		return l.Replace(values)
	}
	return v.Set(values[0])
}
