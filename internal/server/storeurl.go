package server

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Values of --store that are not URLs.
const (
	autoStore    = "auto"
	nixConfStore = "nix-conf"
)

// The default cache, its key and its channel.
const (
	nixosCache   = "https://cache.nixos.org"
	nixosKey     = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
	nixosChannel = "nixos-unstable"
)

const knownStores = "known are auto, local, local?root=DIR, /DIR, https://HOST, http://HOST, s3://BUCKET, file:///DIR and nix-conf"

// givenStores are the values of --store, or the default.
func (c *Config) givenStores(hasLocal bool) []string {
	switch {
	case len(c.Stores) > 0 || c.Demo:
		return c.Stores
	case len(c.Mirrors) > 0 && len(c.Channels) == 0 && !hasLocal:
		return nil // a mirror needs no Nix
	}
	return []string{autoStore}
}

// storeURL is a parsed URL of a store, with the parameters that all kinds of stores have.
type storeURL struct {
	scheme  string // local, file, https, http or s3
	url     string // without those parameters; it may contain a password: print shown(url)
	trusted bool   // signatures are not checked
	keys    []string

	foreign      bool   // from Nix's configuration: errors are warnings
	netrc, certs string // of Nix's configuration
}

// parseStore parses a URL. Its errors contain no password.
func parseStore(s string) (storeURL, error) {
	head, query, hasQuery := strings.Cut(s, "?")
	scheme, _, ok := strings.Cut(head, "://")
	scheme = strings.ToLower(scheme)
	if head == "local" || head == "daemon" || strings.HasPrefix(head, "/") || ok && (scheme == "local" || scheme == "unix") {
		return storeURL{scheme: "local", url: s}, nil
	}
	if !ok || !slices.Contains([]string{"file", "https", "http", "s3"}, scheme) {
		return storeURL{}, fmt.Errorf("store %.300q: not known; %s", shown(s), knownStores)
	}
	u := storeURL{scheme: scheme, url: s}
	if !hasQuery {
		return u, nil
	}
	rest, err := u.take(query)
	if err != nil {
		return storeURL{}, fmt.Errorf("store %.300q: %w", shown(s), err)
	}
	if u.url = head; rest != "" {
		u.url += "?" + rest
	}
	return u, nil
}

// take parses u's own parameters, and returns the others unchanged.
func (u *storeURL) take(query string) (rest string, err error) {
	var others []string
	for part := range strings.SplitSeq(query, "&") {
		key, text, _ := strings.Cut(part, "=")
		if key != "trusted" && key != "public-key" {
			others = append(others, part)
			continue
		}
		value, err := url.PathUnescape(text) // not QueryUnescape: base64 contains +
		if err != nil {
			return "", fmt.Errorf("%s: a %% in it has to be written %%25", key)
		}
		if key == "public-key" {
			u.keys = append(u.keys, value)
			continue
		}
		switch value {
		case "true", "1", "yes":
			u.trusted = true
		case "false", "0", "no":
			u.trusted = false
		default:
			return "", errors.New("trusted: want true or false")
		}
	}
	return strings.Join(others, "&"), nil
}

// cacheParameters are the parameters of Nix's file:// stores that matter to writers only. They are ignored, since the URL may
// be one that nix copy was given.
//
// Source: Nix manual, "Local Binary Cache Store".
var cacheParameters = []string{
	"compression", "compression-level", "index-debug-info", "local-nar-cache", "parallel-compression", "path-info-cache-size",
	"priority", "secret-key", "secret-keys", "store", "system-features", "want-mass-query", "write-nar-listing",
}

// directory returns the directory of a file:// URL.
func (u storeURL) directory() (string, error) {
	head, query, _ := strings.Cut(u.url, "?")
	for part := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(part, "="); key != "" && !slices.Contains(cacheParameters, key) {
			return "", fmt.Errorf("store %.300q: unknown parameter %.100q; trusted and public-key are known", shown(head), key)
		}
	}
	_, dir, _ := strings.Cut(head, "://")
	dir, err := url.PathUnescape(dir)
	if err != nil || !filepath.IsAbs(dir) || strings.ContainsRune(dir, 0) {
		return "", fmt.Errorf("store %.300q: want file:// and an absolute directory: file:///DIR", shown(head))
	}
	return filepath.Clean(dir), nil
}

// refuse returns an error if there are unknown parameters.
func refuse(unknown url.Values) error {
	for _, key := range slices.Sorted(maps.Keys(unknown)) {
		return fmt.Errorf("unknown parameter %.100q", key)
	}
	return nil
}

// shown is a URL for logs and errors: without its password and its parameters, which may contain secrets.
func shown(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		if strings.Contains(s, "@") { // a malformed URL
			return "…"
		}
		return s[:cutQuery(s)]
	}
	host, at := len(rest), strings.LastIndexByte(rest, '@')
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = end
	}
	if at > host {
		return scheme + "://…" // the password may contain an unescaped /
	}
	rest = rest[at+1:]
	return scheme + "://" + rest[:cutQuery(rest)]
}

// cutQuery returns the index of the query or fragment.
func cutQuery(s string) int {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return i
	}
	return len(s)
}

// nixConf are the substituters of Nix's configuration, with their keys and credentials.
type nixConf struct {
	substituters, keys []string
	trusted            bool // signatures are not checked
	netrc, certs       string
}

// expansion turns the values of --store into URLs of stores.
type expansion struct {
	hasLocal bool // this machine has a Nix store
	conf     func() (*nixConf, error)
	log      *slog.Logger
}

// expand returns the URLs in order. It replaces auto and nix-conf; defaulted reports that auto became cache.nixos.org.
func (x *expansion) expand(urls []string) (all []storeURL, defaulted bool, err error) {
	for _, s := range urls {
		switch {
		case s == nixConfStore:
			more, err := x.substituters()
			if err != nil {
				return nil, false, err
			}
			all = append(all, more...)
			continue
		case s == autoStore && x.hasLocal:
			s = "local"
		case s == autoStore:
			s, defaulted = nixosCache, true
		}
		u, err := parseStore(s)
		if err != nil {
			return nil, false, err
		}
		all = append(all, u)
	}
	return all, defaulted, nil
}

// substituters returns the stores of Nix's configuration that nixreg supports.
func (x *expansion) substituters() ([]storeURL, error) {
	conf, err := x.conf()
	if err != nil {
		return nil, fmt.Errorf("store nix-conf: %w", err)
	}
	var all []storeURL
	for _, s := range conf.substituters {
		u, err := x.substituter(s)
		if err != nil {
			x.log.Warn("a substituter of Nix's configuration is left out", "substituter", shown(s), "because", err)
			continue
		}
		u.foreign, u.netrc, u.certs = true, conf.netrc, conf.certs
		u.trusted = u.trusted || conf.trusted
		u.keys = append(u.keys, conf.keys...)
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil, errors.New("store nix-conf: Nix's configuration has no substituter that nixreg can read")
	}
	return all, nil
}

// substituter parses a store URL of Nix, which may also be a directory.
func (x *expansion) substituter(s string) (storeURL, error) {
	switch head, _, _ := strings.Cut(s, "?"); {
	case head == "auto" || head == "daemon" || s == "local":
		if !x.hasLocal {
			return storeURL{}, errors.New("there is no Nix store on this machine")
		}
		s = "local"
	}
	return parseStore(s)
}
