package nixconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

const maxFiles = 256 // included files, all together

// reader applies the lines of files to a configuration.
type reader struct {
	config   *Config
	readFile func(name string) (string, error)
	included int
}

// readText returns all of a file, if it is not too large.
func readText(r io.Reader, name string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return string(b), nil
}

// file applies a file, which may be absent.
func (r *reader) file(name string) error {
	text, err := r.readFile(name)
	if err == nil {
		return r.text(name, text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		r.config.Unread = append(r.config.Unread, err)
	}
	return nil
}

// text applies the lines of a file.
//
// Source: NixOS/nix src/libutil/configuration.cc, parseConfigFiles.
func (r *reader) text(name, text string) error {
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, isSpace)
		if len(words) == 0 {
			continue
		}
		if err := r.line(name, fmt.Sprintf("%s:%d", name, number), words); err != nil {
			return err
		}
	}
	return nil
}

// isSpace reports whether c is white space for Nix.
func isSpace(c rune) bool { return c == ' ' || c == '\t' || c == '\r' }

func (r *reader) line(name, at string, words []string) error {
	include := words[0] == "include" || words[0] == "!include"
	switch {
	case include && len(words) == 2:
		return r.include(at, resolve(name, words[1]), words[0] == "!include")
	case include:
		return invalid(at, "want %s FILE", words[0])
	case len(words) < 2 || words[1] != "=":
		return invalid(at, "%.100q: want NAME = VALUE, with spaces around the =", strings.Join(words, " "))
	}
	return r.config.set(at, words[0], words[2:])
}

// resolve returns the path of an included file, relative to the file called name.
func resolve(name, file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(filepath.Dir(name), file)
}

// include applies a file that another file includes.
func (r *reader) include(at, name string, optional bool) error {
	r.included++
	if r.included > maxFiles {
		return invalid(at, "%.300q: files include one another without end", name)
	}
	text, err := r.readFile(name)
	switch {
	case err == nil:
		return r.text(name, text)
	case !errors.Is(err, fs.ErrNotExist):
		r.config.Unread = append(r.config.Unread, err)
		return nil
	case optional:
		return nil
	}
	return fmt.Errorf("%s: include: %w (!include does without)", at, err)
}

// set stores the value of a setting, if it is one of Config.
//
// Source: NixOS/nix src/libutil/configuration.cc, Config::set.
func (c *Config) set(at, name string, words []string) error {
	if lists := c.lists(); lists[name] != nil {
		*lists[name] = append([]string{}, words...)
		return nil
	} else if list := lists[strings.TrimPrefix(name, "extra-")]; list != nil {
		*list = append(*list, words...)
		return nil
	}
	value := strings.Join(words, " ")
	switch name {
	case "netrc-file":
		c.NetrcFile = value
	case "ssl-cert-file":
		c.SSLCertFile = value
	case "require-sigs":
		return setBool(&c.RequireSigs, at, name, value)
	}
	return nil
}

// lists are the settings that are lists, by all of their names.
func (c *Config) lists() map[string]*[]string {
	return map[string]*[]string{
		"substituters": &c.Substituters, "binary-caches": &c.Substituters,
		"trusted-public-keys": &c.TrustedPublicKeys, "binary-cache-public-keys": &c.TrustedPublicKeys,
	}
}

func setBool(b *bool, at, name, value string) error {
	switch value {
	case "true", "yes", "1":
		*b = true
	case "false", "no", "0":
		*b = false
	default:
		return invalid(at, "%s is %.100q: want true or false", name, value)
	}
	return nil
}
