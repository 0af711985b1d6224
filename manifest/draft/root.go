package draft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// rootLayers makes the layers of files that programs expect in a root file system and that packages do not have: one below the links
// to the contents, and one above them for what they would hide. There is none if p.root is empty. Links lead only to store paths that
// the image has already. If the image cannot have a part, that is an error for a definition, which names the part. The image of a
// package goes without the part, and gets a warning.
func (b *Image) rootLayers(ctx context.Context, s store.Store, p *plan, within []*store.Object, h *hiding) (own, top []plannedLayer, err error) {
	user, _ := b.config.Config.Get("User")
	inside := pathsOf(within)
	first := slices.DeleteFunc(slices.Clone(p.contents), func(p store.Path) bool { return !slices.Contains(inside, p) })
	r := rootFiles{
		store: store.Within(s, inside...), paths: append(first, inside...), user: user, withHome: slices.Contains(p.root, imagefile.Home),
	}
	for _, part := range p.root {
		err := r.add(ctx, part)
		switch {
		case err != nil && (p.named || !packages.IsUserError(err)):
			return nil, nil, fmt.Errorf("root: %s: %w", part, err)
		case err != nil:
			b.image.Warnings = append(b.image.Warnings, fmt.Sprintf("root: %s is left out: %v", part, err))
		default:
			r.parts = append(r.parts, string(part))
		}
	}
	if len(r.parts) == 0 {
		return nil, nil, nil
	}
	all := sortedEntries(r.entries)
	own = []plannedLayer{rootLayer(all, r.parts, strings.Join(r.parts, ", "))}
	if p.format1 {
		return own, nil, nil
	}
	above, warnings, err := h.above(ctx, all)
	b.image.Warnings = append(b.image.Warnings, warnings...)
	if err != nil || len(above) == 0 {
		return own, nil, err
	}
	var names []string
	for _, e := range above {
		names = append(names, strings.TrimSuffix(e.Name, "/"))
	}
	return own, []plannedLayer{rootLayer(sortedEntries(above), names, strings.Join(names, ", "))}, nil
}

func rootLayer(entries []layer.Entry, contents []string, comment string) plannedLayer {
	return plannedLayer{recipe: layer.Recipe{Format: layer.Entries, Entries: entries}, contents: contents, comment: "root: " + comment}
}

// rootFiles are the files of a root layer.
type rootFiles struct {
	store   store.Store    // has the image's paths only
	paths   []store.Path   // the paths in which programs are searched, in order
	user    document.Value // of the config
	entries []layer.Entry
	parts   []string

	withHome bool // the user has a home
}

func (r *rootFiles) add(ctx context.Context, part imagefile.RootPart) error {
	switch part {
	case imagefile.Tmp:
		r.entries = append(r.entries, layer.Entry{Name: "tmp/", Mode: 0o1777})
		return nil
	case imagefile.Passwd:
		entries, err := dockertools.FakeNSS(r.user, r.withHome)
		r.entries = append(r.entries, entries...)
		return err
	case imagefile.Home:
		home, err := dockertools.Home(r.user)
		r.entries = append(r.entries, home)
		return err
	case imagefile.OSRelease:
		r.entries = append(r.entries, layer.Entry{Name: "etc/os-release", Mode: 0o644, Data: osRelease})
		return nil
	case imagefile.Certificates:
		const bundle = "etc/ssl/certs/ca-bundle.crt" // where nixpkgs' cacert has it
		return r.link(ctx, []string{bundle, "etc/ssl/certs/ca-certificates.crt"}, "cacert", bundle)
	case imagefile.BinSh:
		return r.link(ctx, []string{"bin/sh"}, "a shell, such as bash", "bin/sh", "bin/bash")
	case imagefile.UsrBinEnv:
		return r.link(ctx, []string{"usr/bin/env"}, "coreutils", "bin/env")
	}
	return fmt.Errorf("no such part: %w", fs.ErrInvalid)
}

// link adds links with these names to one file: the first of wanted that exists in a path of the image. If several paths have it,
// the link leads to the file in the first of them.
func (r *rootFiles) link(ctx context.Context, names []string, provider string, wanted ...string) error {
	defer store.PrefetchWhile(ctx, r.store, r.paths)()
	for _, name := range wanted {
		for _, p := range r.paths {
			_, nd, err := store.Resolve(ctx, r.store, p.Abs()+"/"+name)
			switch {
			case err == nil && nd.Kind == store.Regular:
				for _, n := range names {
					r.entries = append(r.entries, layer.Entry{Name: n, Mode: 0o777, Link: p.Abs() + "/" + name})
				}
				return nil
			case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
				return err
			}
		}
	}
	return fmt.Errorf("no store path of the image has %s: add %s to contents: %w", strings.Join(wanted, " or "), provider, fs.ErrInvalid)
}

// osRelease tells scanners and installers where packages come from. It has no version: paths of several may be in an image.
//
// Source: os-release(5).
const osRelease = "ID=nixos\nNAME=NixOS\nPRETTY_NAME=NixOS\nHOME_URL=https://nixos.org/\n"

// sortedEntries returns entries and their parent directories, in the order of a layer.
func sortedEntries(entries []layer.Entry) []layer.Entry {
	all := make(map[string]layer.Entry)
	for _, e := range entries {
		for i, c := range e.Name {
			if dir := e.Name[:i+1]; c == '/' && all[dir].Name == "" {
				all[dir] = layer.Entry{Name: dir, Mode: 0o755}
			}
		}
	}
	for _, e := range entries {
		all[e.Name] = e
	}
	var out []layer.Entry
	for _, e := range all {
		out = append(out, e)
	}
	byComponents := func(name string) string { return strings.ReplaceAll(strings.TrimSuffix(name, "/"), "/", "\x00") }
	slices.SortFunc(out, func(a, b layer.Entry) int { return strings.Compare(byComponents(a.Name), byComponents(b.Name)) })
	return out
}
