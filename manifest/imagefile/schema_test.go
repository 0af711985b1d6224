package imagefile

import (
	"encoding/json"
	"maps"
	"math/big"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// subset has the words of JSON Schema that image.schema.json uses.
type subset struct {
	Ref        string             `json:"$ref"`
	Defs       map[string]*subset `json:"$defs"`
	Type       json.RawMessage
	Enum       []any
	AnyOf      []*subset
	Not        *subset
	Pattern    string
	MinLength  int
	MaxLength  *int
	Minimum    *int64
	Maximum    *int64
	Items      *subset
	Required   []string
	Properties map[string]*subset
	Additional json.RawMessage `json:"additionalProperties"`

	// These judge nothing.
	Schema      string `json:"$schema"`
	Title       string
	Description string
	Default     any
	Examples    []any
}

func readSchema(t testing.TB) *subset {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(Schema()))
	dec.DisallowUnknownFields() // a word that the checker does not know
	s := new(subset)
	if err := dec.Decode(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// accepts reports whether a value is valid; root has the definitions.
func (s *subset) accepts(root *subset, v any) bool {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok && !root.Defs[name].accepts(root, v) {
		return false
	}
	if s.Not != nil && s.Not.accepts(root, v) {
		return false
	}
	if s.AnyOf != nil && !slices.ContainsFunc(s.AnyOf, func(a *subset) bool { return a.accepts(root, v) }) {
		return false
	}
	if s.Enum != nil && !slices.ContainsFunc(s.Enum, func(e any) bool { return reflect.DeepEqual(e, v) }) {
		return false
	}
	if s.Type != nil && !strings.Contains(string(s.Type), `"`+typeOf(v)+`"`) {
		return false
	}
	switch v := v.(type) {
	case string:
		n := utf8.RuneCountInString(v)
		return n >= s.MinLength && (s.MaxLength == nil || n <= *s.MaxLength) && regexp.MustCompile(s.Pattern).MatchString(v)
	case *big.Int:
		return (s.Minimum == nil || v.Cmp(big.NewInt(*s.Minimum)) >= 0) && (s.Maximum == nil || v.Cmp(big.NewInt(*s.Maximum)) <= 0)
	case []any:
		return s.Items == nil || !slices.ContainsFunc(v, func(i any) bool { return !s.Items.accepts(root, i) })
	case map[string]any:
		return s.acceptsObject(root, v)
	}
	return true
}

func (s *subset) acceptsObject(root *subset, v map[string]any) bool {
	for _, key := range s.Required {
		if _, ok := v[key]; !ok {
			return false
		}
	}
	for key, item := range v {
		property := s.Properties[key]
		if property == nil && s.Additional != nil {
			if string(s.Additional) == "false" {
				return false
			}
			property = new(subset)
			if err := json.Unmarshal(s.Additional, property); err != nil {
				panic(err)
			}
		}
		if property != nil && !property.accepts(root, item) {
			return false
		}
	}
	return true
}

func typeOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case *big.Int:
		return "integer"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

// plain is a node as the checker wants it. Of numbers with a point, those with no fraction are integers.
func plain(n *node) any {
	switch n.kind {
	case boolean:
		return n.text == "true"
	case integer, float:
		if r, ok := new(big.Rat).SetString(n.text); ok && r.IsInt() {
			return r.Num()
		}
		return 0.5
	case text:
		return n.text
	case list:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = plain(item)
		}
		return items
	case object:
		members := make(map[string]any)
		for _, m := range n.members {
			members[m.key] = plain(m.value)
		}
		return members
	}
	return nil
}

// judge reports whether the schema accepts all documents of a file.
func judge(t *testing.T, root *subset, file string, data []byte) bool {
	t.Helper()
	p := &problems{file: file}
	for _, n := range (&tree{problems: p}).documents(data) {
		if !root.accepts(root, plain(n)) {
			return false
		}
	}
	return true
}

func TestSchemaHasTheKeys(t *testing.T) {
	keys := slices.Sorted(maps.Keys(readSchema(t).Defs["image"].Properties))
	want := slices.Concat(slices.Collect(maps.Keys(arguments)), needBuild, withoutEffect)
	slices.Sort(want)
	if !slices.Equal(keys, want) {
		t.Errorf("the schema has\n%q\nthe parser\n%q", keys, want)
	}
}

func TestSchemaJudgesAlike(t *testing.T) {
	root := readSchema(t)
	for _, dir := range []string{"good", "bad"} {
		files, err := filepath.Glob("testdata/" + dir + "/*")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			data, _, err := readExample(t, file)
			if good := dir == "good"; judge(t, root, file, data) != good || (err == nil) != good {
				t.Errorf("%s: the schema says %v, the parser %v", file, !good, err)
			}
			if !LooksLike(data) && filepath.Base(file) != "none.json" {
				t.Errorf("%s does not look like a definition", file)
			}
		}
	}
	for _, c := range refusals {
		if judge(t, root, "f", []byte(c.data)) == c.told {
			t.Errorf("%q: the schema accepts it: %v", c.data, c.told)
		}
	}
}

// A default that the schema shows is the one the parser takes.
func TestSchemaDefaults(t *testing.T) {
	for key, s := range readSchema(t).Defs["image"].Properties {
		if s.Default == nil {
			continue
		}
		value, err := json.Marshal(s.Default)
		if err != nil {
			t.Fatal(err)
		}
		images, err := Parse("f.json", []byte(`{"name":"a","`+key+`":`+string(value)+`}`))
		if want := withDefaults("a", Position{"f.json", 1, 1}); err != nil || !reflect.DeepEqual(images[0], want) {
			t.Errorf("%s: %+v, %v", key, images, err)
		}
	}
}
