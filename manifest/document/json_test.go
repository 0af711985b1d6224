package document

import (
	"encoding/json"
	"testing"
)

func TestPythonSpelling(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[ ]}`:                   "{\n    \"b\": 1,\n    \"a\": []\n}",
		`{"a":1,"b":2,"a":3}`:               "{\n    \"a\": 3,\n    \"b\": 2\n}",
		`"é 😀 <&> \u2028 \/ \u007f \u0041"`: `"\u00e9 \ud83d\ude00 <&> \u2028 / \u007f A"`,
		`"\ud800 \uDE00"`:                   `"\ud800 \ude00"`,
		`"\b\f\n\r\t\"\\\u0000"`:            `"\b\f\n\r\t\"\\\u0000"`,
		`[1.0, 1e3, 1E16, 1e-5, 0.0001, -0, -0.0, 12345678901234567890]`: "[\n    1.0,\n    1000.0,\n    1e+16,\n    1e-05,\n    0.0001,\n    0,\n    -0.0,\n    12345678901234567890\n]",
		`{"Volumes":{"/d":{}},"x":[null,true,false]}`:                    "{\n    \"Volumes\": {\n        \"/d\": {}\n    },\n    \"x\": [\n        null,\n        true,\n        false\n    ]\n}",
	} {
		v, err := Parse([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(v.Indented()); got != want {
			t.Errorf("%s is\n%s\nnot\n%s", in, got, want)
		}
	}
}

func TestPythonRepr(t *testing.T) {
	for in, want := range map[string]string{
		"a/layer.tar": `'a/layer.tar'`, "it's": `"it's"`, `'"`: `'\'"'`, "a\\b\n\x01\u0085é": `'a\\b\n\x01\x85é'`,
	} {
		if got := pythonRepr(in); got != want {
			t.Errorf("repr of %q is %s, not %s", in, got, want)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"\u00e9\ud83d"]}`, `[[[[]]]]`, `"\\u0041"`, ` null `, `{"":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Parse(b)
		if err != nil {
			return
		}
		for _, out := range [][]byte{v.Indented(), v.Compact()} {
			again, err := Parse(out)
			if err != nil {
				t.Fatalf("%q became %q: %v", b, out, err)
			}
			if string(again.Compact()) != string(v.Compact()) || !json.Valid(out) {
				t.Errorf("%q is not stable: %q", b, out)
			}
		}
	})
}
