package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Args is what an image is made of beside its contents: streamLayeredImage's arguments, as a definition file has them.
// The image's bytes depend on all of it, and its key has all of it.
type Args struct {
	Config            json.RawMessage // as nixpkgs' base.json has it
	Base              string          // the image below: "" for none, the name of a store path, or docker://…
	Architecture      string          // "" for that of the programs
	Variant           string
	Created           string // as it stands in the image's config
	MTime             int64
	Owner             layer.Owner
	MaxLayers         int
	Layering          imagefile.Layering
	ExcludeStorePaths bool // only links: the store is mounted from elsewhere
	IncludeNixDB      bool
	Warnings          []string
}

// defaultArgs are nixpkgs' defaults.
func defaultArgs(config []byte) *Args {
	return &Args{
		Config: config, Created: defaultTime, MTime: 1, Owner: layer.Root, MaxLayers: maxLayers, Layering: imagefile.Auto,
	}
}

// argsOf reads the arguments of an image of a definition file, all but Base.
func argsOf(m *imagefile.Image) (*Args, error) {
	if _, err := document.Parse(m.Config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	a := &Args{
		Config: m.Config, Architecture: m.Architecture, Variant: m.Variant,
		Owner:     layer.Owner{UID: m.UID, GID: m.GID, Uname: m.Uname, Gname: m.Gname},
		MaxLayers: m.MaxLayers, Layering: m.Layering,
		ExcludeStorePaths: !m.IncludeStorePaths, IncludeNixDB: m.IncludeNixDB,
	}
	var err error
	if a.Created, _, err = a.time("created", m.Created); err != nil {
		return nil, err
	}
	_, a.MTime, err = a.time("mtime", m.MTime)
	return a, err
}

// time reads a time and returns it as nixpkgs puts it into a conf.json, with GNU date's -Iseconds, and in seconds.
func (a *Args) time(key, s string) (text string, seconds int64, err error) {
	if s == timeNow {
		a.Warnings = append(a.Warnings, nowWarning(key))
		s = defaultTime
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", 0, fmt.Errorf("%s %.50q is neither a time (such as %s) nor now: %w", key, s, defaultTime, fs.ErrInvalid)
	}
	return t.UTC().Format("2006-01-02T15:04:05-07:00"), t.Unix(), nil
}

// baseJSON is the text of nixpkgs' <name>-base.json: part of the closure, never of the image.
func (a *Args) baseJSON(arch string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"architecture":%s,"config":%s,"os":"linux"`, document.Quote(arch), a.Config)
	if a.Variant != "" {
		fmt.Fprintf(&b, `,"variant":%s`, document.Quote(a.Variant))
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// mentioned returns the store paths in the config, as far as its text tells: what follows the store directory, by the
// hash part it starts with.
func (a *Args) mentioned() map[string]string {
	found := make(map[string]string)
	rest := string(a.Config)
	for {
		_, after, ok := strings.Cut(rest, store.Dir+"/")
		if !ok {
			return found
		}
		rest = after
		if len(rest) > store.HashLen && rest[store.HashLen] == '-' && store.IsHash(rest[:store.HashLen]) {
			found[rest[:store.HashLen]] = rest
		}
	}
}

// roots returns the store paths that the config mentions, sorted by hash. One that is not valid gives an error that names
// it and matches [fs.ErrNotExist].
func (a *Args) roots(ctx context.Context, s store.Store) ([]store.Path, error) {
	mentioned := a.mentioned()
	var out []store.Path
	for _, hash := range slices.Sorted(maps.Keys(mentioned)) {
		text := mentioned[hash]
		p, err := s.Find(ctx, hash)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(text, string(p)):
			absent := fault.Absent(fmt.Sprintf("config mentions %s/%s, which is not valid in the store", store.Dir, pathIn(text)))
			return nil, fault.Phrase(absent, "config mentions a store path that is not valid")
		case err != nil:
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// pathIn is the longest name of a store path that text starts with.
func pathIn(text string) string {
	n := 0
	for n < len(text) && store.IsNameByte(text[n]) {
		n++
	}
	return text[:n]
}
