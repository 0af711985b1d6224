package draft

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// links are the names in the layer of links to the contents, and whether each is a directory.
type links map[string]bool

func readLinks(b []byte) (links, error) {
	all := make(links)
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("layer of links: %w", err)
		}
		all[path.Clean(h.Name)] = h.Typeflag == tar.TypeDir
	}
}

// hiding finds the entries of a root layer that the links to the contents would hide.
type hiding struct {
	store    store.Store
	contents []store.Path
	links    links
}

// warnings returns a warning of a content that has something else than a directory in the place of the store.
func (h *hiding) warnings(ctx context.Context) (out []string) {
	for _, name := range []string{"nix", "nix/store"} {
		if dir, ok := h.links[name]; ok && !dir {
			out = append(out, fmt.Sprintf("%s is no directory: it hides the store, and the image cannot start", h.owner(ctx, name)))
		}
	}
	return out
}

// above returns the entries that have to be in a layer above the links, and a warning for each other entry that is hidden. A directory
// keeps its mode. The accounts of etc/passwd and etc/group are added to those of the contents. Other files of the contents stay, as
// long as there is a file.
func (h *hiding) above(ctx context.Context, entries []layer.Entry) (above []layer.Entry, warnings []string, err error) {
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name, "/")
		if e.Mode == 0o755 || !h.hides(name) {
			continue
		}
		instead, ok, err := h.instead(ctx, e)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok:
			warnings = append(warnings, fmt.Sprintf("root: /%s is hidden by %s", name, h.owner(ctx, name)))
		case instead.Name != "":
			above = append(above, instead)
		}
	}
	return above, warnings, nil
}

// hides reports whether the links have a name, or a link in the place of a directory above it.
func (h *hiding) hides(name string) bool {
	if _, ok := h.links[name]; ok {
		return true
	}
	return h.below(name) != ""
}

// below returns the directory above name in whose place the links have something else; "" if there is none.
func (h *hiding) below(name string) string {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if isDir, ok := h.links[dir]; ok && !isDir {
			return dir
		}
	}
	return ""
}

// instead returns the entry to put above the links for a hidden one; none if the contents have what the entry is for. ok is false if
// the entry stays hidden.
func (h *hiding) instead(ctx context.Context, e layer.Entry) (above layer.Entry, ok bool, err error) {
	name := strings.TrimSuffix(e.Name, "/")
	reachable := h.below(name) == ""
	if name != e.Name {
		return e, reachable, nil
	}
	at, nd, err := h.find(ctx, name)
	if err != nil || at == "" || nd.Kind != store.Regular {
		return above, false, err
	}
	if name != "etc/passwd" && name != "etc/group" {
		return above, true, nil
	}
	text, err := store.ReadNode(ctx, h.store, at, nd, min(nd.Size, maxAccounts))
	if err != nil {
		return above, false, err
	}
	merged := withAccounts(string(text), e.Data)
	switch {
	case merged == string(text):
		return above, true, nil
	case !reachable || nd.Size > maxAccounts/2:
		return above, false, nil
	}
	e.Data = merged
	return e, true, nil
}

// withAccounts adds the lines of accounts that text does not have, by their names.
func withAccounts(text, accounts string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for line := range strings.Lines(accounts) {
		name, _, _ := strings.Cut(line, ":")
		if !strings.Contains("\n"+text, "\n"+name+":") {
			text += line
		}
	}
	return text
}

// find returns the store path, and the node in it, of a name in the contents; "" if there is no such file.
func (h *hiding) find(ctx context.Context, name string) (store.Path, store.Node, error) {
	return rootView{store: h.store, contents: h.contents}.find(ctx, "/"+name)
}

// owner returns the content that has a name, or the directory above it.
func (h *hiding) owner(ctx context.Context, name string) string {
	if dir := h.below(name); dir != "" {
		name = dir
	}
	for _, p := range h.contents {
		t, err := h.store.Open(ctx, p)
		if err != nil {
			continue
		}
		_, err = store.Lookup(ctx, t, name)
		t.Close()
		if err == nil {
			return p.Abs() + "/" + name
		}
	}
	return "a content"
}
