package channel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func readAll(r io.Reader) (out []attribute, err error) {
	err = readPackages(r, func(a attribute) error {
		out = append(out, a)
		return nil
	})
	return out, err
}

// The two forms nixpkgs has had, as jq -c writes them.
const (
	oldPackages = `{"version":2,"packages":{"hello":{"meta":{"available":true,"license":{"shortName":"gpl3Plus"},"mainProgram":"hello","maintainers":[{"name":"\"x\" {"}],"outputsToInstall":["out"]},"name":"hello-2.12.1","outputName":"out","outputs":{"out":null},"pname":"hello","system":"x86_64-linux","version":"2.12.1"},` +
		`"haskellPackages.\"3dmodels\"":{"name":"3dmodels-0.3.0","outputName":"out","outputs":{"doc":null,"out":null},"pname":"3dmodels","system":"x86_64-linux","version":"0.3.0"}}}` + "\n"
	newPackages = `{"packages":{"hello":{"meta":{"available":true,"mainProgram":"hello","outputsToInstall":["out","man"]},"name":"hello-2.12.1","outputName":"out","outputs":["out"],"pname":"hello","system":"x86_64-linux","version":"2.12.1"},` +
		`"haskellPackages.\"3dmodels\"":{"name":"3dmodels-0.3.0","outputName":"out","outputs":["out","doc"],"pname":"3dmodels","system":"x86_64-linux","version":"0.3.0"}},"version":"2"}` + "\n"
)

func TestReadPackages(t *testing.T) {
	hello := attribute{path: "hello", name: "hello-2.12.1", outputs: []string{"out"}, installs: "out", program: "hello"}
	models := func(outputs ...string) attribute {
		return attribute{path: `haskellPackages."3dmodels"`, name: "3dmodels-0.3.0", outputs: outputs}
	}
	for name, tt := range map[string]struct {
		in   string
		want []attribute
	}{
		"nix-env":           {oldPackages, []attribute{hello, models("doc", "out")}},
		"packages-info.nix": {newPackages, []attribute{hello, models("out", "doc")}},
		"fields left out":   {`{"packages":{"a":{},"b":{"name":null,"outputs":null},"c":{"name":3,"outputs":"x"}}}`, []attribute{{path: "a"}, {path: "b"}, {path: "c"}}},
		"unknown fields":    {`{"x":[{}],"packages":{"a":{"y":{"name":"z"},"name":"n"}},"z":1}`, []attribute{{path: "a", name: "n"}}},
		"escapes":           {`{"packages":{"\u0061\/b":{"name":"\u00e9"}}}`, []attribute{{path: "a/b", name: "é"}}},
		"strange meta":      {`{"packages":{"a":{"meta":[]},"b":{"meta":{"mainProgram":3,"outputsToInstall":"x"}},"c":{"meta":{"outputsToInstall":[]}}}}`, []attribute{{path: "a"}, {path: "b"}, {path: "c"}}},
		"no packages":       {`{"packages":{}}`, nil},
		"white space":       {" {\n\"packages\" : { } }\n ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readAll(iotest.OneByteReader(strings.NewReader(tt.in)))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestReadPackagesRefuses(t *testing.T) {
	record := `{"packages":{"a":`
	for name, tt := range map[string]struct {
		in   string
		kind error
		want string
	}{
		"nothing":          {"", fs.ErrInvalid, "offset 0"},
		"a list":           {"[]", fs.ErrInvalid, "offset 1"},
		"cut":              {oldPackages[:200], fs.ErrInvalid, "offset"},
		"no packages":      {`{"version":2}`, fs.ErrInvalid, "no packages"},
		"version 3":        {`{"version":3,"packages":{}}`, errors.ErrUnsupported, `version "3"`},
		"version 3 at end": {`{"packages":{},"version":"3"}`, errors.ErrUnsupported, `version "3"`},
		"two values":       {`{"packages":{}}{}`, fs.ErrInvalid, "more than one value"},
		"null record":      {record + `null}}`, fs.ErrInvalid, "offset 21"},
		"list of numbers":  {record + `{"outputs":[1]}}}`, fs.ErrInvalid, "offset"},
		"long attribute":   {`{"packages":{"` + strings.Repeat("a", maxAttribute+1) + `":{}}}`, fs.ErrInvalid, "longer than 1024"},
		"many outputs":     {record + `{"outputs":["x"` + strings.Repeat(`,"x"`, maxOutputs) + `]}}}`, fs.ErrInvalid, "more than 64 outputs"},
		"more outputs":     {record + `{"outputs":{"x":0` + strings.Repeat(`,"x":0`, maxOutputs) + `}}}`, fs.ErrInvalid, "more than 64 outputs"},
		"deep":             {record + `{"meta":` + strings.Repeat("[", 1<<20), fs.ErrInvalid, "depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(strings.NewReader(tt.in))
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestReadPackagesErrors(t *testing.T) {
	broken := errors.New("cut")
	_, err := readAll(io.MultiReader(strings.NewReader(oldPackages[:100]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the reader's error is lost: %v", err)
	}
	err = readPackages(strings.NewReader(oldPackages), func(attribute) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("emit's error is lost: %v", err)
	}
}

// endlessText repeats itself, behind what is in front of it.
func endlessText(front, text string) io.Reader {
	return io.MultiReader(strings.NewReader(front), &endless{text: text})
}

type endless struct {
	text string
	at   int
}

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e.text[e.at]
		e.at = (e.at + 1) % len(e.text)
	}
	return len(b), nil
}

// What a decoder would hold in memory has a bound; what it passes over has none but the file's.
func TestReadPackagesValueBound(t *testing.T) {
	for _, front := range []string{`{"packages":{"`, `{"packages":{"a":{"name":"`, `{"packages":{"a":{"meta":{"x":"`, `{"version":1`} {
		_, err := readAll(endlessText(front, "1"))
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "a value of more than") {
			t.Errorf("%s…: %v", front, err)
		}
	}
	large := `{"packages":{"a":{"meta":[0` + strings.Repeat(`,"0123456789"`, 3*maxValue/10) + `],"name":"n"}}}`
	if got, err := readAll(strings.NewReader(large)); err != nil || len(got) != 1 || got[0].name != "n" {
		t.Errorf("a large record of small values: %v, %v", got, err)
	}
}

func TestReadPackagesCount(t *testing.T) {
	_, err := readAll(endlessText(`{"packages":{"a":{}`, `,"a":{}`))
	if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprint("more than ", maxAttributes)) {
		t.Errorf("endless packages: %v", err)
	}
}

func FuzzReadPackages(f *testing.F) {
	f.Add([]byte(oldPackages))
	f.Add([]byte(newPackages))
	f.Add([]byte(`{"packages":{"a":{"outputs":[]}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readAll(bytes.NewReader(in))
		if err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
		for _, a := range got {
			if len(a.path) > maxAttribute || len(a.outputs) > maxOutputs {
				t.Fatalf("beyond the bounds: %+v", a)
			}
		}
	})
}
