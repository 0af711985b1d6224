package imagefile

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nixreg/nixreg/internal/spell"
)

// Parse returns the images that a file defines. A YAML document is an image or a list of images; a JSON file is one document. A
// file without images must hold an empty list. The name of the file is used in messages, for relative paths, and to tell JSON
// from YAML. Parse opens no file.
//
// The error joins all problems, one a line, as file:line:column: text. The text may quote the file; each problem has a method
// Public() string that does not. The error matches [fs.ErrInvalid], and errors.ErrUnsupported if an argument needs a build. With
// an error there are no images.
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
		r.invalid(Position{file, 1, 1}, missing, "no image is defined here: write an image with name: and contents:, or [] for none")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return r.images, nil
}

// documents returns the documents of a file: one in JSON, any number in YAML.
func (t *tree) documents(data []byte) []*node {
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	switch {
	case len(data) > maxFile:
		t.invalid(Position{t.file, 1, 1}, tooLarge, "the file has more than %d MiB: divide it", maxFile>>20)
	case !utf8.Valid(data):
		valid := 0
		for size := 1; valid < len(data); valid += size {
			var r rune
			if r, size = utf8.DecodeRune(data[valid:]); r == utf8.RuneError && size == 1 {
				break
			}
		}
		t.invalid(t.position(data[:valid]), badSyntax, "not UTF-8: save the file in that encoding")
	case isJSON(t.file, data):
		return t.json(data)
	default:
		return t.yaml(data)
	}
	return nil
}

// isJSON reports whether a file is JSON, by its name or by its bytes. Other files are YAML.
func isJSON(file string, data []byte) bool {
	if strings.EqualFold(filepath.Ext(file), ".json") {
		return true
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(data)
}

func (r *reader) document(n *node) {
	switch n.kind {
	case null: // an empty document, such as the one after a last ---
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
	if len(r.list) == problems { // with a problem, the name or platform may be wrong
		r.checkUnique()
	}
	r.images = append(r.images, r.image)
}

// member reads one argument. null means the default, as in Nix.
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
		if !r.full() {
			hint = advice(m.key)
		}
		r.invalid(m.at, badKey, "unknown key %.100q: %s", m.key, hint)
	}
}

// isOff reports whether a value leaves an argument that needs a build unused.
func isOff(n *node) bool {
	return n.kind == broken || n.kind == null || n.kind == boolean && n.text == "false" || n.kind == text && n.text == ""
}

// checkUnique adds a problem if the file has an image of the same name, tag and platform.
func (r *reader) checkUnique() {
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

// advice returns a hint for an unknown key of an image.
func advice(key string) string {
	if key == "copyToRoot" {
		return "write contents, copyToRoot is of buildImage"
	}
	if _, below := settings[canonical(key)]; below { // the key is a level too high
		return "write it below config, as " + canonical(key)
	}
	known := slices.Concat(slices.Sorted(maps.Keys(arguments)), needBuild, withoutEffect)
	if best := spell.Near(key, slices.Values(known)); best != "" {
		return "did you mean " + best + "?"
	}
	if _, meant := ConfigKey(key); meant != "" {
		return "write it below config, as " + meant
	}
	return "an image has no such argument"
}
