package realise

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// source is the flake or file that has the attributes. Names are absolute, so that none starts with a dash and the working directory
// does not matter.
type source struct {
	flake string
	file  string
	watch []string // local files that belong to the source; none for a remote source
}

func fileSource(name string) (source, error) {
	abs, err := absolute(name)
	if err != nil {
		return source{}, err
	}
	if err := mustExist("file to build from", abs); err != nil {
		return source{}, err
	}
	watch := []string{abs}
	if fi, err := os.Stat(abs); err == nil && fi.IsDir() {
		watch = []string{filepath.Join(abs, "default.nix")}
	}
	return source{file: abs, watch: watch}, nil
}

// flakeSource parses a flake reference. It is a path if it starts with "." or "/", as for nix.
func flakeSource(ref string) (source, error) {
	switch {
	case strings.ContainsAny(ref, "#^"):
		return source{}, fmt.Errorf("installable %.200q: give the flake alone, without # or ^: names become attributes of it: %w",
			redact(ref), fs.ErrInvalid)
	case strings.HasPrefix(ref, "-") || strings.ContainsFunc(ref, unprintable):
		return source{}, fmt.Errorf("installable %.200q: not a flake reference: %w", redact(ref), fs.ErrInvalid)
	case ref[0] != '.' && ref[0] != '/':
		return source{flake: ref}, nil
	}
	name, query, asked := strings.Cut(ref, "?")
	abs, err := absolute(name)
	if err != nil {
		return source{}, err
	}
	if err := mustExist("flake", abs); err != nil {
		return source{}, err
	}
	s := source{flake: abs, watch: []string{filepath.Join(abs, "flake.nix"), filepath.Join(abs, "flake.lock")}}
	if asked {
		s.flake += "?" + query
	}
	return s, nil
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

// local reports whether the source is on this machine. Users edit such a source and try again.
func (s source) local() bool { return len(s.watch) > 0 }

// state returns a string that changes with the watched files.
func (s source) state() string {
	var b strings.Builder
	for _, name := range s.watch {
		if fi, err := os.Stat(name); err == nil {
			fmt.Fprintf(&b, "%d %d;", fi.Size(), fi.ModTime().UnixNano())
		} else {
			b.WriteString("-;")
		}
	}
	return b.String()
}

// roots returns the attribute paths below which nix looks for names, in its order.
//
// Source: Nix, libcmd/installables.cc, SourceExprCommand::getDefaultFlakeAttrPathPrefixes.
func (s source) roots(system string) []string {
	if s.file != "" {
		return []string{""}
	}
	return []string{"packages." + system, "legacyPackages." + system}
}

// args returns the arguments of nix for the attribute path full and system.
func (s source) args(full, system string) []string {
	if s.file == "" {
		return []string{"--no-write-lock-file", s.flake + "#" + full}
	}
	if full == "" {
		full = "." // the value of the file
	}
	return []string{"--file", s.file, "--argstr", "system", system, full}
}

// ref returns the git reference or revision of a flake reference: "github:owner/repo/ref", "nixpkgs/ref", "…?ref=", "…?rev=".
//
// Source: Nix, nix/flake.md, "Flake references".
func (s source) ref() string {
	name, query, _ := strings.Cut(s.flake, "?")
	if q, err := url.ParseQuery(query); err == nil {
		if rev := q.Get("rev"); rev != "" {
			return rev
		}
		if ref := q.Get("ref"); ref != "" {
			return ref
		}
	}
	scheme, rest, found := strings.Cut(name, ":")
	forge := found && (scheme == "github" || scheme == "gitlab" || scheme == "sourcehut")
	switch {
	case forge:
		_, rest, _ = strings.Cut(rest, "/")
	case found && scheme == "flake":
	case found || strings.HasPrefix(name, "/"):
		return ""
	default:
		rest = name
	}
	_, ref, _ := strings.Cut(rest, "/")
	return ref
}
