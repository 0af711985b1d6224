package imagefile

// setting is what one key of config takes: a value of one kind, null, and text as well if that is allowed.
type setting struct {
	kind  kind
	text  bool
	inner kind // of what is in a list or an object; broken: anything
	want  string
}

// settings are the keys of config whose values are checked: clients refuse an image if one has a value of another type.
//
// Source: OCI image-spec 1.1, config.md; Docker's image specification 1.2, whose lists of words may be text.
var settings = map[string]setting{
	"User":         {text, true, broken, "text"},
	"WorkingDir":   {text, true, broken, "text"},
	"StopSignal":   {text, true, broken, "text"},
	"Env":          {list, false, text, "a list of NAME=VALUE"},
	"OnBuild":      {list, false, text, "a list of text"},
	"Cmd":          {list, true, text, "a list of text"},
	"Entrypoint":   {list, true, text, "a list of text"},
	"Shell":        {list, true, text, "a list of text"},
	"Labels":       {object, false, text, "an object"},
	"ExposedPorts": {object, false, object, "an object, such as {8080/tcp: {}}"},
	"Volumes":      {object, false, object, "an object, such as {/data: {}}"},
	"Healthcheck":  {object, false, broken, "an object"},
}

// settings checks the values of config that clients know, and notes the keys that they do not know.
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

// inner checks what is in a list or an object.
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
