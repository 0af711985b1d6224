package document

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Config is the content of an image's config.
type Config struct {
	Created      string
	Architecture string
	Variant      string
	Config       Value
	DiffIDs      []v1.Hash
	Comments     []string // one history line a layer
}

// Bytes writes the config as nixpkgs' stream_layered_image.py does. Its digest is the image ID.
//
// Source: nixpkgs pkgs/build-support/docker/stream_layered_image.py, main; Python's json.dumps(indent=4).
func (c *Config) Bytes() []byte {
	var ids, history []Value
	for i, d := range c.DiffIDs {
		ids = append(ids, String(d.String()))
		line := Value{Kind: '{'}
		line.Set("created", String(c.Created))
		line.Set("comment", String(c.Comments[i]))
		history = append(history, line)
	}
	rootfs := Value{Kind: '{'}
	rootfs.Set("diff_ids", List(ids...))
	rootfs.Set("type", String("layers"))

	doc := Value{Kind: '{'}
	doc.Set("created", String(c.Created))
	doc.Set("architecture", String(c.Architecture))
	doc.Set("os", String("linux"))
	if c.Variant != "" {
		doc.Set("variant", String(c.Variant))
	}
	doc.Set("config", c.Config)
	doc.Set("rootfs", rootfs)
	doc.Set("history", List(history...))
	return doc.Indented()
}

// StorePaths returns the history line of a layer of store paths: Python's repr of a list of strings.
func StorePaths(names []string) string {
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

// MergeEnv returns base followed by own with each name once: at the place of its first value, with its last value.
//
// Source: stream_layered_image.py, overlay_base_config.
func MergeEnv(base, own []Value) []Value {
	at := make(map[string]int)
	var out []Value
	for _, v := range append(append([]Value(nil), base...), own...) {
		name, _, _ := strings.Cut(strings.Trim(v.Text, `"`), "=")
		if i, ok := at[name]; ok {
			out[i] = v
			continue
		}
		at[name] = len(out)
		out = append(out, v)
	}
	return out
}

// DiffIDs returns the diffIDs in a config, bottom first. A config that is no JSON object gives an error matching [fs.ErrInvalid].
func DiffIDs(config []byte) ([]v1.Hash, error) {
	var doc struct {
		RootFS struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, fs.ErrInvalid)
	}
	return doc.RootFS.DiffIDs, nil
}
