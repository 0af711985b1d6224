package manifest

import (
	"strings"
	"unicode"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// imageConfig is the configuration document of an image.
type imageConfig struct {
	created      string
	architecture string
	variant      string
	config       value
	diffIDs      []v1.Hash
	comments     []string // one history line a layer
}

// bytes is the document as nixpkgs' stream_layered_image.py writes it; its digest is the image's ID.
//
// Source: nixpkgs pkgs/build-support/docker/stream_layered_image.py, main; Python's json.dumps(indent=4).
func (c *imageConfig) bytes() []byte {
	var ids, history []value
	for i, d := range c.diffIDs {
		ids = append(ids, stringValue(d.String()))
		var line value
		line.kind = '{'
		line.set("created", stringValue(c.created))
		line.set("comment", stringValue(c.comments[i]))
		history = append(history, line)
	}
	rootfs := value{kind: '{'}
	rootfs.set("diff_ids", listValue(ids...))
	rootfs.set("type", stringValue("layers"))

	doc := value{kind: '{'}
	doc.set("created", stringValue(c.created))
	doc.set("architecture", stringValue(c.architecture))
	doc.set("os", stringValue("linux"))
	if c.variant != "" {
		doc.set("variant", stringValue(c.variant))
	}
	doc.set("config", c.config)
	doc.set("rootfs", rootfs)
	doc.set("history", listValue(history...))
	return doc.indented()
}

// storePathsComment is the history line of a layer: Python's repr of a list of strings.
func storePathsComment(names []string) string {
	reprs := make([]string, len(names))
	for i, n := range names {
		reprs[i] = pythonRepr(n)
	}
	return "store paths: [" + strings.Join(reprs, ", ") + "]"
}

// pythonRepr is repr(s).
func pythonRepr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte(quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(hexEscape(r))
		}
	}
	b.WriteByte(quote)
	return b.String()
}

func hexEscape(r rune) string {
	const digits = "0123456789abcdef"
	prefix, width := `\U`, 8
	switch {
	case r < 0x100:
		prefix, width = `\x`, 2
	case r < utf8.MaxRune && r < 0x10000:
		prefix, width = `\u`, 4
	}
	b := []byte(prefix)
	for i := width - 1; i >= 0; i-- {
		b = append(b, digits[r>>(4*i)&15])
	}
	return string(b)
}

// mergeEnv is base followed by own, each name once: at the place of its first value, with the last one.
//
// Source: stream_layered_image.py, overlay_base_config.
func mergeEnv(base, own []value) []value {
	at := make(map[string]int)
	var out []value
	for _, v := range append(append([]value(nil), base...), own...) {
		name, _, _ := strings.Cut(strings.Trim(v.text, `"`), "=")
		if i, ok := at[name]; ok {
			out[i] = v
			continue
		}
		at[name] = len(out)
		out = append(out, v)
	}
	return out
}
