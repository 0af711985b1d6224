package imagefile

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

// settings checks the values of the keys that clients know, and collects the unknown keys.
func (r *reader) settings(config *node) {
	for _, m := range config.members {
		if known, _ := ConfigKey(m.key); !known {
			if r.image.UnknownKeys == nil {
				r.image.UnknownKeys = make(map[string]Position)
			}
			r.image.UnknownKeys[m.key] = m.at
		}
		s, known := settings[m.key]
		switch v := m.value; {
		case !known || v.kind == null || v.kind == text && s.text:
		case v.kind != s.kind:
			r.mismatch("config."+m.key, v, s.want)
		case s.inner != broken:
			r.inner(m, s.inner)
		}
	}
}

// inner checks the elements of a list or an object.
func (r *reader) inner(m member, want kind) {
	check := func(n *node) {
		switch {
		case n.kind == want || n.kind == null:
		case want == text:
			r.mismatch("config."+m.key, n, "text")
		default:
			r.mismatch("config."+m.key, n, "{}")
		}
	}
	for _, item := range m.value.items {
		check(item)
	}
	for _, item := range m.value.members {
		check(item.value)
	}
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
