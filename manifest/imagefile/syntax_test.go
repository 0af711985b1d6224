package imagefile

import (
	"strings"
	"testing"
)

// What a file's syntax gives as config, or what is wrong with it.
func TestConfigSpelling(t *testing.T) {
	for _, c := range []struct{ file, config, want string }{
		{"f.yaml", `{B: 1, a_: 2, aB: 3, b: 4, é: 5}`, `{"B":1,"aB":3,"a_":2,"b":4,"é":5}`},
		{"f.yaml", `{x: {z: {}, y: []}}`, `{"x":{"y":[],"z":{}}}`},
		{"f.yaml", `{x: [yes, No, on, 2024-01-01, 1_000, 12:30, 0b1, ~, null, Null, True, false]}`,
			`{"x":["yes","No","on","2024-01-01","1_000","12:30","0b1",null,null,null,true,false]}`},
		{"f.yaml", `{x: [0, -0, +5, -7, 0x1F, 0o17, 12345678901234567890123]}`, `{"x":[0,0,5,-7,31,15,12345678901234567890123]}`},
		{"f.yaml", `{x: ["5", 'a''b', !!str 7, !!int 8, !!null "", "<<"]}`, `{"x":["5","a'b","7",8,null,"<<"]}`},
		{"f.yaml", `{x: "\b\f\n\r\t\"\\\x01\x1f\x7f\x85\u2028/<>&\U0001F600"}`,
			`{"x":"\b\f\n\r\t\"\\\u0001\u001f` + "\x7f\u0085\u2028/<>&\U0001F600" + `"}`},
		{"f.json", `{"x":"\b\f\n\r\t\"\\\u0001\u007f\/<>&\ud83d\ude00 \\ud800 \ufffd"}`,
			`{"x":"\b\f\n\r\t\"\\\u0001` + "\x7f/<>&\U0001F600 " + `\\ud800 ` + "\ufffd" + `"}`},
		{"f.json", `{"a":"\ufeff"}`, `{"a":"` + "\ufeff" + `"}`},
		{"f.json", `{"x":[12345678901234567890123,-0,null,true,false]}`, `{"x":[12345678901234567890123,0,null,true,false]}`},
	} {
		data := "{\"name\": \"a\", \"config\": " + c.config + "}"
		images, err := Parse(c.file, []byte(byteOrderMark+data))
		if err != nil {
			t.Errorf("%s: %v", c.config, err)
			continue
		}
		if got := string(images[0].Config); got != c.want {
			t.Errorf("%s is\n%s\nnot\n%s", c.config, got, c.want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct{ file, data, want string }{
		{"f.json", "{\n \"name\": \"é\" x}", `f.json:2:14: not JSON: invalid character 'x' after object key:value pair`},
		{"f.json", "{\n \"name\":", `f.json:2:9: not JSON: unexpected end of JSON input`},
		{"f.json", `{"name":"a"} {"name":"b"}`, `f.json:1:14: not JSON: invalid character '{' after top-level value`},
		{"f.json", "name: a", `f.json:1:2: not JSON: invalid character 'a' in literal null (expecting 'u')`},
		{"f.json", "", `f.json:1:1: not JSON: unexpected end of JSON input`},
		{"f.json", "{\"name\":\"a\",\n\t\"config\":{\"é\":\"\\ud800\"}}", `f.json:2:16: the text "�" has half of a surrogate pair, which is no character`},
		{"f.json", `{"name":"a","config":{"\udc00\ud800":1}}`, `f.json:1:23: the text "��" has half of a surrogate pair, which is no character`},
		{"f.json", `{"name":"a","meta":{"\u0000":1}}`, `f.json:1:21: the text "\x00" has a NUL, which Nix allows in no string`},
		{"f", "name: a\ntag: é\xff", "f:2:7: not UTF-8: save the file in that encoding"},
		{"f", "name: a\n\ttag: b\n", "f:2:2: YAML syntax error: found a tab character that violates indentation"},
		{"f", "name: a: b", "f:1:10: YAML syntax error: mapping values are not allowed in this context"},
		{"f", "name: a\nuid: -1\n---\nname: [b\n", "f:2:6: uid: want a number from 0 to 4294967294, not -1\n" +
			"f:4:8: YAML syntax error: did not find expected ',' or ']'"},
		{"f", "name: a\ntag: *v\n", "f:2:7: YAML syntax error: unknown anchor 'v' referenced"},
		{"f", "name: a\n<<: {tag: v}", "f:2:1: a merge (<<) is not in YAML 1.2: repeat the keys, or give each value an anchor"},
		{"f", "name: a\n? [b]\n: c", "f:2:3: a key that is no plain text: write it out"},
		{"f", "name: !!binary aGk=", "f:1:7: the tag \"!!binary\" does not fit: leave it out"},
		{"f", "name: a\nmeta: !!set {a, b}", "f:2:7: the tag \"!!set\" does not fit: leave it out"},
		{"f", "name: a\nuid: !!int x", "f:2:6: the tag \"!!int\" does not fit: leave it out"},
	} {
		_, err := Parse(c.file, []byte(c.data))
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v\nnot %s", c.data, err, c.want)
		}
	}
}

func TestLooksLike(t *testing.T) {
	for data, want := range map[string]bool{
		"name: a":                                  true,
		"# web\n---\n- tag: b\n  name: a\n":        true,
		"-\tname : a":                              true,
		"{name: a}":                                true,
		"{tag: b, 'name': a}":                      true,
		`{"name":"a"}`:                             true,
		`[{"tag":"b","name":"a"}]`:                 true,
		`{"name":"a",}`:                            true,
		"\ufeffname: a":                            true,
		"name: [":                                  true,
		`{"name":"a","store_layers":[]}`:           false,
		`{"name":"a","store_layers":[],}`:          false,
		`{"customisation_layer":"x","name":"y"}`:   false,
		`{"config":{"name":"a"}}`:                  false,
		`[{"Config":"x.json","RepoTags":["a:b"]}]`: false,
		"[]":                                     false,
		"null":                                   false,
		"":                                       false,
		"filename: a":                            false,
		"#!/bin/sh\nname: a":                     false,
		"name: a\x00":                            false,
		"name: \xff":                             false,
		"name: a" + strings.Repeat("#", maxFile): false,
		"name: a\nconfig: {}\n\"store_layers\": []\n": false,
	} {
		if got := LooksLike([]byte(data)); got != want {
			t.Errorf("%.60q: %v", data, got)
		}
	}
}
