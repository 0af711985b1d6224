package imagefile

import (
	"bytes"
	"encoding/json"
	"regexp"
	"unicode/utf8"
)

// LooksLike reports whether a file is meant to define images: it has a key name, and is neither a conf.json nor a script. It may
// still have mistakes, which [Parse] finds.
func LooksLike(data []byte) bool {
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	if len(data) > maxFile || bytes.HasPrefix(data, []byte("#!")) || bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) {
		return false
	}
	if !json.Valid(data) {
		return nameKey.Match(data) && !confKey.Match(data)
	}
	var one map[string]json.RawMessage
	if json.Unmarshal(data, &one) == nil {
		return named(one)
	}
	var several []map[string]json.RawMessage
	return json.Unmarshal(data, &several) == nil && len(several) > 0 && named(several[0])
}

// named reports whether the keys are those of an image, and not of a conf.json.
func named(keys map[string]json.RawMessage) bool {
	_, name := keys["name"]
	_, layers := keys["store_layers"]
	_, last := keys["customisation_layer"]
	return name && !layers && !last
}

// nameKey and confKey find keys in YAML and in invalid JSON.
var (
	nameKey = regexp.MustCompile(`(?m)(?:^[ \t]*(?:-[ \t]+)*|[{,][ \t]*)["']?name["']?[ \t]*:`)
	confKey = regexp.MustCompile(`["']?(?:store_layers|customisation_layer)["']?[ \t]*:`)
)
