package channel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/nixreg/nixreg/store"
)

const (
	// official is the folder of the channels of nixpkgs, and fixed that of their releases, which never change.
	official = "https://channels.nixos.org/"
	fixed    = "https://releases.nixos.org/"
	// maxName is the greatest length of a tag.
	maxName = 128
	// maxLocation bounds the argument, in bytes.
	maxLocation = 4096
)

// ParseName parses a user's argument and returns the channel's name, which is a legal tag, and its location:
//
//	nixos-unstable           of https://channels.nixos.org
//	nixos-25.11.1234.abcdef  a release of nixos-25.11, of https://releases.nixos.org
//	https://host/x/y         a folder on a server, called y; http and s3 likewise
//	/dir/y, file:///dir/y    a folder on this machine, called y
//	NAME=https://host/x      a folder with a name of the user's choice; each of the above can follow the =
//	…/y/store-paths.xz       only that file, without the names of attributes; called y
//
// The location is a URL with its parameters and credentials, or an absolute path. Anything else gives an error matching
// [fs.ErrInvalid], without credentials in its text.
//
// Source: distribution-spec, "Pulling manifests", for tags.
func ParseName(arg string) (name, location string, err error) {
	name, location, err = parseName(arg)
	if err != nil {
		return "", "", fmt.Errorf("channel %.100q: %w: %w", redact(arg), err, fs.ErrInvalid)
	}
	return name, location, nil
}

func parseName(arg string) (name, location string, err error) {
	if len(arg) > maxLocation {
		return "", "", fmt.Errorf("longer than %d bytes", maxLocation)
	}
	if strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", errors.New("it has a control character")
	}
	left, right, named := strings.Cut(arg, "=")
	if named && !strings.ContainsAny(left, "/:?") { // else the = is part of a URL
		name, arg = left, right
		if err := checkName(name); err != nil {
			return "", "", err
		}
	}
	folder, location, err := locate(arg)
	if err != nil || name != "" {
		return name, location, err
	}
	if err := checkName(folder); err != nil {
		return "", "", fmt.Errorf("%w; NAME=… in front of it gives it another", err)
	}
	return folder, location, nil
}

// locate returns the location of arg, and the name of its folder.
func locate(arg string) (folder, location string, err error) {
	if strings.HasPrefix(arg, "/") {
		p := path.Clean(arg)
		return folderName(p), p, nil
	}
	if !strings.Contains(arg, "://") {
		if err := checkName(arg); err != nil {
			return "", "", fmt.Errorf("%w; a channel is a name as nixos-unstable, a URL or an absolute path", err)
		}
		if m := releaseName.FindStringSubmatch(arg); m != nil {
			return arg, fixed + folderOfReleases(m) + "/" + arg, nil
		}
		return arg, official + arg, nil
	}
	u, err := url.Parse(arg)
	if err != nil {
		return "", "", errors.New("not a URL") // url's own error may quote a password
	}
	if u.Fragment != "" {
		return "", "", errors.New("a URL with a #")
	}
	switch {
	case u.Scheme == "file" && (u.Host != "" || u.RawQuery != "" || !path.IsAbs(u.Path)):
		return "", "", errors.New("a folder on this machine is written file:///dir")
	case u.Scheme == "file":
		if strings.Contains(u.Path, "\x00") {
			return "", "", errors.New("there is a NUL in it")
		}
		p := path.Clean(u.Path)
		return folderName(p), p, nil
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "s3":
		return "", "", errors.New("only https, http, s3 and file are known")
	case u.Host == "":
		return "", "", errors.New("no host in it")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return folderName(u.Path), u.String(), nil
}

// releaseName matches the name of a release: nixos-25.11.1234.abcdef, nixos-26.05pre1234.abcdef or nixpkgs-26.05pre1234.abcdef.
//
// Source: nixos-channel-scripts, mirror-nixos-branch.pl ($releasePrefix).
var releaseName = regexp.MustCompile(`^(nixos|nixpkgs)-([0-9]{2}\.[0-9]{2})(pre|\.)[0-9]+\.[0-9a-f]{6,40}$`)

// folderOfReleases returns the folder of the releases like the match m of releaseName.
func folderOfReleases(m []string) string {
	switch {
	case m[1] == "nixpkgs":
		return m[1]
	case m[3] == "pre":
		return "nixos/unstable"
	}
	return "nixos/" + m[2]
}

// folderName is the last component of a path, without the name of the list of paths.
func folderName(p string) string {
	if path.Base(p) == pathsFile {
		p = path.Dir(p)
	}
	return strings.Trim(path.Base("/"+p), "/")
}

// checkName gives an error if name is not a tag, or is a tag with another meaning.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case len(name) > maxName:
		return fmt.Errorf("its name is longer than %d characters", maxName)
	case name == "latest":
		return errors.New("the name latest has another meaning")
	case store.IsHash(name):
		return fmt.Errorf("the name %s looks like the hash of a store path", name)
	}
	for i := range len(name) {
		c := name[i]
		word := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("the name %.100q is no legal tag: letters, digits and _.- are, the first of them a letter, a digit or _", redact(name))
		}
	}
	return nil
}

// redact returns a location for messages, without credentials and parameters.
func redact(location string) string {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		if strings.Contains(location, "@") { // a malformed URL
			return "…"
		}
		if strings.HasPrefix(location, "/") {
			return location
		}
		return location[:cutQuery(location)]
	}
	host := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	if at := strings.LastIndexByte(rest, '@'); at >= len(host) {
		return scheme + "://…" // an unescaped password may reach up to there
	} else if at >= 0 {
		rest = rest[at+1:]
	}
	return scheme + "://" + rest[:cutQuery(rest)]
}

// cutQuery is the end of the path in s.
func cutQuery(s string) int {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return i
	}
	return len(s)
}
