package dockertools

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Args are the arguments of streamLayeredImage beside contents. The bytes of an image depend on all of them, so the key of an
// image includes all of them.
type Args struct {
	Config            json.RawMessage // as nixpkgs' base.json has it
	Base              string          // the base image: "" is none, else the name of a store path, or docker://…
	Architecture      string          // "" is the architecture of the programs
	Variant           string
	Created           string // as in the image's config
	MTime             int64
	Owner             layer.Owner
	MaxLayers         int
	Layering          imagefile.Layering
	ExcludeStorePaths bool // no store paths in the image: the container mounts a store
	IncludeNixDB      bool
	Warnings          []string
}

// DefaultMaxLayers is nixpkgs' default, which every runtime accepts.
const DefaultMaxLayers = 100

// MaxRuntimeLayers is the greatest number of layers that Docker's classic store accepts.
const MaxRuntimeLayers = 125

// DefaultArgs returns nixpkgs' defaults.
func DefaultArgs(config []byte) *Args {
	return &Args{
		Config: config, Created: DefaultTime, MTime: 1, Owner: layer.Root, MaxLayers: DefaultMaxLayers, Layering: imagefile.Auto,
	}
}

// ArgsOf returns the arguments of an image of a definition file, without Base.
func ArgsOf(m *imagefile.Image) (*Args, error) {
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

// time parses a time and returns it as nixpkgs writes it into a conf.json (GNU date -Iseconds), and in seconds.
func (a *Args) time(key, s string) (text string, seconds int64, err error) {
	if s == timeNow {
		a.Warnings = append(a.Warnings, nowWarning(key))
		s = DefaultTime
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", 0, fmt.Errorf("%s %.50q is neither a time (such as %s) nor now: %w", key, s, DefaultTime, fs.ErrInvalid)
	}
	return t.UTC().Format("2006-01-02T15:04:05-07:00"), t.Unix(), nil
}

// BaseJSON returns the text of nixpkgs' <name>-base.json, which is in the closure and not in the image.
func (a *Args) BaseJSON(arch string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"architecture":%s,"config":%s,"os":"linux"`, document.Quote(arch), a.Config)
	if a.Variant != "" {
		fmt.Fprintf(&b, `,"variant":%s`, document.Quote(a.Variant))
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// Mentioned returns the store paths in the text of the config: the text after the store directory, by the hash part at its
// start.
func (a *Args) Mentioned() map[string]string {
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

// PathIn returns the longest name of a store path at the start of text.
func PathIn(text string) string {
	n := 0
	for n < len(text) && store.IsNameByte(text[n]) {
		n++
	}
	return text[:n]
}

// SettleArchitecture sets the architecture of the base image, if there is no other. If there is another one, it is an error
// when the definition gives it, and a warning when it is the programs'.
func (a *Args) SettleArchitecture(base string, given bool) error {
	switch {
	case a.Architecture == "":
		a.Architecture = base
	case base == "" || base == a.Architecture:
	case given:
		return fmt.Errorf("architecture is %s, but the base image is for %s: %w", a.Architecture, base, fs.ErrInvalid)
	default:
		a.Warnings = append(slices.Clone(a.Warnings), fmt.Sprintf("the programs are for %s, but the base image is for %s", a.Architecture, base))
	}
	return nil
}

// NoLayerLeft returns the error of an image whose base image has too many layers for its maxLayers.
func NoLayerLeft(maxLayers, base, own int) error {
	return fmt.Errorf("maxLayers is %d, and of these the base image takes %d, root and includeNixDB %d, the links 1: none is left for store paths: %w",
		maxLayers, base, own, fs.ErrInvalid)
}
