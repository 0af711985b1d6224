package server

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/pull/bases"
	"github.com/nixreg/nixreg/store"
)

// parts are what a server is made of, and how to close it.
type parts struct {
	source   *manifest.Source
	cache    digests.Cache
	blobs    *layer.Blobs // nil: none are kept
	stores   []string     // their names, for people
	named    bool         // one of them can list its packages
	channels []store.Channel
	local    store.Store // one of the stores: that of this machine's Nix; nil if it is not among them
	builder  catalog.Builder
	builds   string // what is built from, for people; "" if nothing is
	holder   catalog.Holder
	bases    *bases.Cache
	mirrors  []registry.Mirror
	closes   []func() error

	storeDirs []string // where the files of the Nix stores are
}

// names are what is served, for people.
func (p *parts) names() []string {
	all := slices.Clone(p.stores)
	if p.builds != "" {
		all = append(all, "builds of "+p.builds)
	}
	for _, c := range p.channels {
		all = append(all, "the channel "+c.Name())
	}
	for _, m := range p.mirrors {
		all = append(all, "the mirror of "+m.Name)
	}
	return all
}

// noNames is advice for users whose packages have no names.
const noNames = "a cache on a server cannot say which packages it has: --channel " + nixosChannel + " gives them names; a path is store/<hash>"

// nameless reports whether there are stores, and nothing that gives names to their packages.
func (p *parts) nameless() bool {
	return len(p.stores) > 0 && !p.named && len(p.channels) == 0 && p.builds == ""
}

// explain adds to the error of an image that does not exist why it may have no name.
func (p *parts) explain(repository string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && p.nameless() && !strings.HasPrefix(repository, "store/") {
		return fmt.Errorf("%w: %s", err, noNames)
	}
	return err
}

// close closes the parts, the last one opened first.
func (p *parts) close() error {
	var errs []error
	for _, c := range slices.Backward(p.closes) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
