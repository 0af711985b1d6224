package imagefile

import (
	"encoding/json"
	"slices"
)

// The defaults that are more than a zero value.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, streamLayeredImage.
const (
	defaultTime   = "1970-01-01T00:00:01Z"
	defaultLayers = 100
	defaultOwner  = "root"
	defaultTag    = "latest" // ours: a definition has no hash that nixpkgs would take
)

// Parse returns the images that a file defines: each YAML document is an image or a list of images, and a JSON file is
// one such document. A file that defines none on purpose holds an empty list. The file's name is for messages, for
// paths that are relative to it, and tells JSON from YAML; nothing is opened.
//
// The error joins all problems, one a line, each as file:line:column: text, which may quote the file. Each has a method
// Public() string without that. It matches [fs.ErrInvalid], and errors.ErrUnsupported if an argument needs a build. Then there
// are no images.
func Parse(file string, data []byte) ([]*Image, error) {
	p := &problems{file: file}
	docs := (&tree{problems: p}).documents(data)
	r := reader{problems: p, seen: make(map[imageKey]Position)}
	empty := true
	for _, d := range docs {
		empty = empty && d.kind == null
		r.document(d)
	}
	if empty && len(p.list) == 0 {
		r.invalid(Position{file, 1, 1}, missing, "no image is defined here: write name: and what is in it, or [] for none")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return r.images, nil
}

// reader makes images of nodes.
type reader struct {
	*problems
	images []*Image
	seen   map[imageKey]Position
	image  *Image // the one being read
}

// imageKey is what no two images of a file share.
type imageKey struct{ repository, tag, architecture, variant string }

// argument is a key of an image that has a value.
type argument struct {
	key   string
	value *node
}

func (r *reader) document(n *node) {
	switch n.kind {
	case null: // such as what stands after a last ---
	case list:
		for _, item := range n.items {
			r.definition(item)
		}
	default:
		r.definition(n)
	}
}

// definition reads one image.
func (r *reader) definition(n *node) {
	if n.kind != object {
		if n.kind != broken {
			r.invalid(n.at, badType, "want an image, which is an object with a name, not %s", n.describe())
		}
		return
	}
	r.image = &Image{
		At: n.at, Config: json.RawMessage("{}"), Created: defaultTime, MTime: defaultTime,
		Uname: defaultOwner, Gname: defaultOwner, MaxLayers: defaultLayers, Layering: Auto, IncludeStorePaths: true,
	}
	problems := len(r.list)
	named := false
	for _, m := range n.members {
		named = named || m.key == "name" && m.value.kind != null
		r.member(m)
	}
	if !named {
		r.invalid(n.at, missing, "name is missing: an image needs one")
	}
	if len(r.list) == problems { // else its name or platform may not be what was meant
		r.claim()
	}
	r.images = append(r.images, r.image)
}

// member reads one argument. null stands for its default, as in Nix.
func (r *reader) member(m member) {
	read, known := arguments[m.key]
	switch {
	case known:
		if m.value.kind != null && m.value.kind != broken {
			read(r, argument{m.key, m.value})
		}
	case slices.Contains(withoutEffect, m.key):
	case slices.Contains(needBuild, m.key):
		if !isOff(m.value) {
			r.unsupported(m.at, needsBuild, "%s needs a build: build it with Nix and put its conf.json in --images", m.key)
		}
	default:
		hint := ""
		if r.room() {
			hint = advice(m.key)
		}
		r.invalid(m.at, badKey, "unknown key %.100q: %s", m.key, hint)
	}
}

// isOff reports whether a value leaves an argument that needs a build unused.
func isOff(n *node) bool {
	return n.kind == broken || n.kind == null || n.kind == boolean && n.text == "false" || n.kind == text && n.text == ""
}

// claim notes an image of the same name, tag and platform.
func (r *reader) claim() {
	i := r.image
	key := imageKey{i.Repository(), i.Tag, i.Architecture, i.Variant}
	if key.tag == "" {
		key.tag = defaultTag
	}
	if first, ok := r.seen[key]; ok {
		r.invalid(i.At, twice, "a second image %s:%s for the same architecture and variant, the first is in line %d",
			key.repository, key.tag, first.Line)
		return
	}
	r.seen[key] = i.At
}
