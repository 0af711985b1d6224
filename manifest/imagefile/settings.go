package imagefile

import (
	"maps"
	"strings"

	"github.com/nixreg/nixreg/internal/spell"
)

// reader makes images from nodes.
type reader struct {
	*problems
	images []*Image
	seen   map[imageKey]Position
	image  *Image // the image that is being read
}

// imageKey is unique among the images of a file.
type imageKey struct{ repository, tag, architecture, variant string }

// argument is a key of an image and its value.
type argument struct {
	key   string
	value *node
}

// settings checks the values of the keys that clients know, and collects the unknown keys. A known key in another case is a mistake:
// clients take it, and nixreg would pass it on unseen.
func (r *reader) settings(config *node) {
	for _, m := range config.members {
		known, meant := ConfigKey(m.key)
		switch {
		case known:
			r.setting("config."+m.key, m.value, settings[m.key])
		case strings.EqualFold(m.key, meant):
			r.invalid(m.at, badKey, "config: unknown key %.100q: did you mean %s?", m.key, meant)
		default:
			if r.image.UnknownKeys == nil {
				r.image.UnknownKeys = make(map[string]Position)
			}
			r.image.UnknownKeys[m.key] = m.at
		}
	}
}

// setting checks a value, and the values in it.
func (r *reader) setting(name string, n *node, s setting) {
	switch {
	case n.kind == null:
		return
	case n.kind != s.kind:
		r.mismatch(name, n, s.want)
		return
	case s.text != nil:
		if problem := s.text(n.text); problem != "" {
			r.invalid(n.at, badValue, "%s: %.100q: %s", name, n.text, problem)
		}
	}
	if s.inner != nil {
		for _, item := range n.items {
			r.setting(name, item, *s.inner)
		}
	}
	for _, m := range n.members {
		r.field(name, m, s)
	}
}

// field checks a member of an object.
func (r *reader) field(name string, m member, s setting) {
	switch field, ok := s.fields[m.key]; {
	case ok:
		r.setting(name+"."+m.key, m.value, field)
		return
	case s.fields != nil:
		meant := spell.Near(m.key, maps.Keys(s.fields))
		if meant != "" {
			meant = ": did you mean " + meant + "?"
		}
		r.invalid(m.at, badKey, "%s: unknown key %.100q%s", name, m.key, meant)
		return
	case s.key != nil:
		if problem := s.key(m.key); problem != "" {
			r.invalid(m.at, badKey, "%s: %.100q: %s", name, m.key, problem)
		}
	}
	if s.inner != nil {
		r.setting(name, m.value, *s.inner)
	}
}

// A Refusal is about a value of a ready-made config that clients or runtimes refuse. Text may quote the value, Key does not.
type Refusal struct{ Key, Text string }

// Refusals returns what is wrong with the config of a ready-made image, a JSON object. Nobody can change that, so it is no error.
func Refusals(config []byte) (out []Refusal) {
	p := &problems{}
	for _, n := range (&tree{problems: p}).json(config) {
		if n.kind == object {
			(&reader{problems: p, image: &Image{}}).settings(n)
		}
	}
	for _, q := range p.list {
		key, _, _ := strings.Cut(q.text, ":")
		out = append(out, Refusal{key, q.text + ": clients refuse it"})
	}
	return out
}

// mismatch adds a problem about a value of the wrong type.
func (r *reader) mismatch(key string, n *node, want string) {
	hint := ""
	switch scalar := n.kind == integer || n.kind == float || n.kind == boolean; {
	case n.kind == broken:
		return
	case scalar && want == "text":
		hint = ": write it in quotes"
	case n.kind == text && want == "a whole number" && isDigits(n.text, "0123456789"):
		hint = ": write it without quotes"
	}
	r.invalid(n.at, badType, "%s: want %s, not %s%s", key, want, n.describe(), hint)
}
