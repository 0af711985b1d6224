// Package packages finds store paths by the names and tags of packages, and by several names together, in the lists of stores
// and channels.
//
// It owns the spelling of names and tags ([RepositoryName], [TagName]), the choice of version, output and architecture
// ([Catalog]), and the errors that tell an unknown name from an absent path ([IsUnknown]). It must not know layers, manifests
// and HTTP, and builds nothing.
package packages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
)

// Config is what a Catalog needs. All, Group and Cache must be set.
type Config struct {
	// All is the union of all stores, with the files outside of them.
	All store.Store
	// Stores and Channels have the names, in order of preference. The first one that knows a name decides its tags.
	Stores   []store.Store
	Channels []store.Channel
	// Architectures are the architectures of images, in GOARCH's words. Empty means all.
	Architectures []string
	// Group runs the listings. The caller closes it.
	Group *flight.Group
	// Cache keeps facts about distant paths, and what builds told.
	Cache digests.Cache
	// Log may be nil.
	Log *slog.Logger
}

// Catalog finds store paths by the name of a package, by "store/<hash>", and by composites. [IsUnknown] is true for the error
// about an unknown name or tag. The error about a known path that is in no store matches [io/fs.ErrNotExist]. The error about an
// unavailable store or channel matches [store.ErrUnavailable]. Safe for concurrent use.
type Catalog struct {
	all   store.Store
	index []*packageIndex // of the stores, then of the channels
	kinds *pathKinds
	archs []string // the architectures of images; empty means all

	tellings tellings
}

// Image describes an image of packages for one platform.
type Image struct {
	// Title is the name of the package or of the composite. Version is the version of a single package; it may be "".
	Title, Version string
	// Contents are linked into the root of the image, in order. Program is the program in bin/ that the image runs, if it exists.
	Contents []store.Path
	Program  string
	// MainProgram is meta.mainProgram, if a channel or a build told it. It is for messages only: an image does not depend on it.
	MainProgram string
}

// New makes a Catalog. Nothing is listed until a name is asked for.
func New(cfg Config) *Catalog {
	log := cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	p := &Catalog{all: cfg.All, archs: cfg.Architectures, kinds: newPathKinds(log)}
	p.tellings.records, p.tellings.known.Max = cfg.Cache, toldBytes
	add := func(x *packageIndex) {
		x.group, x.key = cfg.Group, fmt.Sprint("index/", len(p.index))
		p.index = append(p.index, x)
	}
	for _, s := range cfg.Stores {
		add(&packageIndex{store: s, distant: store.IsDistant(s)})
	}
	for _, c := range cfg.Channels {
		add(&packageIndex{channel: c, distant: true})
	}
	if len(cfg.Channels) > 0 || store.IsDistant(cfg.All) {
		p.kinds.records = cfg.Cache
	}
	return p
}

// State returns the state of all stores and channels.
func (p *Catalog) State(ctx context.Context) (string, error) {
	all, err := p.all.State(ctx)
	for _, x := range p.index {
		if err == nil && x.channel != nil {
			var state string
			if state, err = x.state(ctx); errors.Is(err, store.ErrUnavailable) {
				state, err = store.Unavailable, nil
			}
			all += " " + strconv.Quote(state)
		}
	}
	return all, err
}

// Settled reports whether all listings are up to date. A listing may be older than its store for a few seconds, or while the
// store is unavailable. A store without a listing does not count.
func (p *Catalog) Settled(ctx context.Context) bool {
	for _, x := range p.index {
		l := x.latest()
		if state, err := x.state(ctx); l.names != nil && (err != nil || state != l.state) {
			return false
		}
	}
	return true
}
