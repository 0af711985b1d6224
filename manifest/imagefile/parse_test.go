package imagefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const hello = "/nix/store/fm16blchyw0gzy2pa9cvp01927iz053a-hello-2.10"

// withDefaults is an image as a file with a name alone defines it.
func withDefaults(name string, at Position) *Image {
	return &Image{
		Name: name, At: at, Config: []byte("{}"), Created: "1970-01-01T00:00:01Z", MTime: "1970-01-01T00:00:01Z",
		Uname: "root", Gname: "root", MaxLayers: 100, Layering: Auto, IncludeStorePaths: true,
	}
}

// readExample parses a file of testdata under its base name.
func readExample(t *testing.T, path string) ([]byte, []*Image, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	images, err := Parse(filepath.Base(path), data)
	return data, images, err
}

// TestManual has the three examples of the nixpkgs manual.
func TestManual(t *testing.T) {
	first := withDefaults("hello", Position{"hello.yaml", 2, 1})
	first.Tag = "latest"
	first.Contents = []Content{{hello, Position{"hello.yaml", 4, 12}}}
	first.Config = []byte(`{"Cmd":["/bin/hello"]}`)

	nostore := withDefaults("hello", Position{"nostore.yaml", 2, 1})
	nostore.Contents = []Content{{hello, Position{"nostore.yaml", 3, 11}}}
	nostore.Config = []byte(`{"Cmd":["/bin/hello"]}`)
	nostore.IncludeStorePaths = false

	closure := withDefaults("hello", Position{"configclosure.json", 1, 1})
	closure.Tag = "latest"
	closure.Config = []byte(`{"Cmd":["` + hello + `/bin/hello"]}`)

	for _, want := range []*Image{first, nostore, closure} {
		_, images, err := readExample(t, filepath.Join("testdata/good", want.At.File))
		if err != nil || !reflect.DeepEqual(images, []*Image{want}) {
			t.Errorf("%s: %+v, %v\nnot %+v", want.At.File, images, err, want)
		}
	}
}

func TestEveryArgument(t *testing.T) {
	const file = "everything.yaml"
	_, images, err := readExample(t, "testdata/good/"+file)
	if err != nil {
		t.Fatal(err)
	}
	want := &Image{
		Name: "Team/Web", Tag: "1.10", At: Position{file, 1, 1},
		FromImage: "docker://docker.io/library/debian@sha256:" + strings.Repeat("0123456789abcdef", 4),
		Contents: []Content{
			{hello, Position{file, 5, 5}}, {"coreutils", Position{file, 6, 5}}, {"arm64/python3:3.11", Position{file, 7, 5}},
		},
		Config: []byte(`{"Cmd":["/bin/hello","--greeting","é\n"],"Env":["PATH=/bin"],"ExposedPorts":{"8080/tcp":{}},` +
			`"Healthcheck":{"Interval":30000000000,"Test":["CMD","/bin/true"]},` +
			`"Labels":{"org.opencontainers.image.version":"1.10"},"OnBuild":null,"StopSignal":"SIGINT","Tty":false,` +
			`"User":"1000:1000","Volumes":{"/data":{}},"WorkingDir":"/srv"}`),
		Architecture: "arm64", Variant: "v8", Created: "2024-02-29T10:34:56Z", MTime: "2024-02-29T00:00:00Z",
		UID: 1000, GID: 4294967294, Uname: "app", Gname: "app", MaxLayers: 20, Layering: Popularity,
		IncludeStorePaths: true, IncludeNixDB: true, Root: []RootPart{BinSh, Certificates, Passwd, Tmp, UsrBinEnv},
	}
	if len(images) != 3 || !reflect.DeepEqual(images[0], want) {
		t.Fatalf("%+v\nnot %+v", images[0], want)
	}
	if images[0].Repository() != "team/web" {
		t.Errorf("repository %s", images[0].Repository())
	}
	amd, arm := images[1], images[2]
	if amd.Architecture != "amd64" || arm.Architecture != "arm64" || string(arm.Config) != `{"Cmd":["/bin/hello"]}` ||
		!reflect.DeepEqual(amd.Contents, arm.Contents) || len(arm.Contents) != 1 {
		t.Errorf("%+v\n%+v", amd, arm)
	}
}

func TestNullIsTheDefault(t *testing.T) {
	_, images, err := readExample(t, "testdata/good/nulls.json")
	if want := withDefaults("n", Position{"nulls.json", 1, 2}); err != nil || !reflect.DeepEqual(images, []*Image{want}) {
		t.Errorf("%+v, %v", images, err)
	}
}

// TestContentNames: packages are called as they are pulled, or as attributes.
func TestContentNames(t *testing.T) {
	root := readSchema(t)
	for name, want := range map[string]bool{
		"hello": true, "git/hello:latest": true, "store/fm16blchyw0gzy2pa9cvp01927iz053a": true, "gcc__x--y.z": true,
		"R": true, "SDL2:2.30.1": true, "python311Packages.requests": true, "xorg.libX11/Hello": true,
		"_7zz": true, "nerd-fonts._0xproto": true, "_1password-gui:nixos-25.05": true,
		"": false, "_": false, "__x": false, "a..b": false, "a.": false, ".a": false, "a_": false, "-a": false, "a/": false, "a'": false,
		"a b": false, "a:": false, "nixpkgs#hello": false, "\u00e9": false, "a\n": false, "./a": false,
	} {
		data := []byte(`{"name":"x","contents":"` + strings.ReplaceAll(name, "\n", `\n`) + `"}`)
		images, err := Parse("f.json", data)
		if (err == nil) != want || want && images[0].Contents[0].Text != name || judge(t, root, "f.json", data) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		"now": "now", "1970-01-01T00:00:01Z": "1970-01-01T00:00:01Z", "2024-02-29 12:34:56": "2024-02-29T12:34:56Z",
		"2024-02-29T12:34:56": "2024-02-29T12:34:56Z", "2024-02-29T12:34:56.9-01:30": "2024-02-29T14:04:56Z",
		"2024-02-29": "2024-02-29T00:00:00Z", "2024-02-29 12:34:56+02:00": "2024-02-29T10:34:56Z",
		"2024-02-29 1:02:03": "2024-02-29T01:02:03Z", "2023-02-29": "", "yesterday": "", "": "", "9999-12-31T23:59:59-01:00": "", "Now": "",
	} {
		if got, ok := parseTime(in); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v", in, got, ok)
		}
		if want != "" && !judge(t, readSchema(t), "f", []byte("name: a\nmtime: '"+in+"'")) {
			t.Errorf("%q: the schema refuses it", in)
		}
	}
}

func TestBaseImage(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, c := range []struct{ in, want, problem string }{
		{hello, hello, ""},
		{hello + "/image.tar", hello + "/image.tar", ""},
		{"/srv/base.tar", "/srv/base.tar", ""},
		{"base", "/etc/images/base", ""},
		{"../base.tar.gz", "/etc/base.tar.gz", ""},
		{"./a:b", "/etc/images/a:b", ""},
		{"dir/a:b", "/etc/images/dir/a:b", ""},
		{":0", "/etc/images/:0", ""},
		{"docker://localhost:5000/a/b" + digest, "docker://localhost:5000/a/b" + digest, ""},
		{"docker://[::1]:5000/a" + digest, "docker://[::1]:5000/a" + digest, ""},
		{"docker://docker.io/library/debian", "", "pin it by digest: docker://HOST/REPO@sha256:DIGITS, without a tag"},
		{"docker://debian" + digest, "", "name the host, such as docker.io/library/debian"},
		{"docker://library/debian" + digest, "", "name the host, such as docker.io/library/debian"},
		{"docker://docker.io/library/debian:12" + digest, "", "want docker://HOST/REPO@sha256:DIGITS, without a tag"},
		{"docker://docker.io/library/debian@sha256:0123", "", "want docker://HOST/REPO@sha256:DIGITS, without a tag"},
		{"oci:dir", "", "want a path without a transport, or docker://HOST/REPO@sha256:DIGITS"},
		{"", "", "want a path or docker://HOST/REPO@sha256:DIGITS; leave it out for none"},
		{"/nix/store/hello", "", "not a path in the store: want /nix/store/HASH-NAME"},
	} {
		got, problem := baseImage("/etc/images/web.yaml", c.in)
		if problem != c.problem || problem == "" && got != c.want {
			t.Errorf("%s: %q, %q", c.in, got, problem)
		}
		if c.problem == "" && !judge(t, readSchema(t), "f", []byte("name: a\nfromImage: '"+c.in+"'")) {
			t.Errorf("%s: the schema refuses it", c.in)
		}
	}
}

// refusals are files with what Parse says of them, file name left out; told is what the JSON Schema says no to as well.
var refusals = []struct {
	data, want string
	told       bool
}{
	{"", "1:1: no image is defined here: write an image with name: and contents:, or [] for none", false},
	{"---\n---\n# none\n", "1:1: no image is defined here: write an image with name: and contents:, or [] for none", false},
	{"hello", `1:1: want an image, which is an object with a name, not the text "hello"`, true},
	{"- [{name: a}]", "1:3: want an image, which is an object with a name, not a list", true},
	{"tag: v1\n", "1:1: name is missing: an image needs one", true},
	{"name:\n", "1:1: name is missing: an image needs one", true},
	{"name: 1.10", "1:7: name: want text, not the number 1.10: write it in quotes", true},
	{"name: a b", `1:7: name: "a b": want letters and digits, with ., _, __ or dashes between them, and parts joined by /`, true},
	{"name: " + strings.Repeat("a", 256), "1:7: name: more than 255 characters", true},
	{"name: \u212a", "1:7: name: \"\u212a\": want letters and digits, with ., _, __ or dashes between them, and parts joined by /", true},
	{"name: a\ntag: 1.10", "2:6: tag: want text, not the number 1.10: write it in quotes", true},
	{"name: a\ntag: ''", `2:6: tag: "": want 1 to 128 letters, digits, _, . and -, the first no . or -`, true},
	{"name: a\nmaxLayer: 5", `2:1: unknown key "maxLayer": did you mean maxLayers?`, true},
	{"name: a\nfromimage: x", `2:1: unknown key "fromimage": did you mean fromImage?`, true},
	{"name: a\ntags: [x]", `2:1: unknown key "tags": did you mean tag?`, true},
	{"name: a\nfoo: x", `2:1: unknown key "foo": an image has no such argument`, true},
	{"name: a\n\"\": x", `2:1: unknown key "": an image has no such argument`, true},
	{"name: a\ncmd: [x]", `2:1: unknown key "cmd": write it below config, as Cmd`, true},
	{"name: a\ncopyToRoot: x", `2:1: unknown key "copyToRoot": write contents, copyToRoot is of buildImage`, true},
	{"name: a\ncompressor: gz", `2:1: unknown key "compressor": an image has no such argument`, true},
	{"name: a\ncontents: [5, a b, /usr/bin, " + hello + "/bin]", "2:12: contents: want store paths or names of packages, not the number 5\n" +
		`2:15: contents: "a b": neither a store path nor a package: want NAME[:TAG] as in docker pull, or an attribute path` + "\n" +
		`2:20: contents: "/usr/bin": not a store path: want /nix/store/HASH-NAME` + "\n" +
		`2:30: contents: "` + hello + `/bin": below a store path: write ` + hello, true},
	{"name: a\ncontents: {a: b}", "2:11: contents: want store paths or names of packages, not an object", true},
	{"name: a\nfromImage: oci:x", `2:12: fromImage: "oci:x": want a path without a transport, or docker://HOST/REPO@sha256:DIGITS`, true},
	{"name: a\nconfig: [a]", "2:9: config: want an object, not a list", true},
	{"name: a\nconfig: {x: {v: 1.0}}", "2:17: config: 1.0 is not a whole number, and no setting takes one: if it is text, write it in quotes", false},
	{"name: a\nconfig: {x: [.inf, 1e3]}", "2:14: config: .inf is not a whole number, and no setting takes one: if it is text, write it in quotes\n" +
		"2:20: config: 1e3 is not a whole number, and no setting takes one: if it is text, write it in quotes", true},
	{"name: a\nconfig: {User: 1000, Env: {A: b}, ExposedPorts: [80]}", "2:16: config.User: want text, not the number 1000: write it in quotes\n" +
		"2:27: config.Env: want a list of NAME=VALUE, not an object\n" +
		"2:49: config.ExposedPorts: want an object, such as {8080/tcp: {}}, not a list", true},
	{"name: a\nconfig:\n  Env:\n  - A: b\n  Labels: {v: 1, w: true}\n  Volumes: {/data: x}", "4:5: config.Env: want text, not an object\n" +
		"5:15: config.Labels: want text, not the number 1: write it in quotes\n" +
		"5:21: config.Labels: want text, not true: write it in quotes\n" +
		"6:20: config.Volumes: want {}, not the text \"x\"", true},
	{"name: a\nconfig: {Cmd: {}, Healthcheck: [x], StopSignal: 9}", "2:15: config.Cmd: want a list of text, not an object\n" +
		"2:32: config.Healthcheck: want an object, not a list\n" +
		"2:49: config.StopSignal: want text, not the number 9: write it in quotes", true},
	{"name: a\narchitecture: x86_64", `2:15: architecture: "x86_64": write amd64, Docker's name for it`, true},
	{"name: a\narchitecture: aarch64", `2:15: architecture: "aarch64": write arm64, Docker's name for it`, true},
	{"name: a\narchitecture: ''", `2:15: architecture: "": want Docker's name for one, such as amd64 or arm64`, true},
	{"name: a\nvariant: V7", `2:10: variant: "V7": want one such as v7 or v8`, true},
	{"name: a\ncreated: yesterday", `2:10: created: "yesterday": want a time, such as 1970-01-01T00:00:01Z, or now`, true},
	{"name: a\nmtime: 2023-02-29", `2:8: mtime: "2023-02-29": want a time, such as 1970-01-01T00:00:01Z, or now`, false},
	{"name: a\nmtime: 5", "2:8: mtime: want text, not the number 5: write it in quotes", true},
	{"name: a\nuid: -1", "2:6: uid: want a number from 0 to 4294967294, not -1", true},
	{"name: a\ngid: 99999999999999999999", "2:6: gid: want a number from 0 to 4294967294, not 99999999999999999999", true},
	{"name: a\nuid: '5'", `2:6: uid: want a whole number, not the text "5": write it without quotes`, true},
	{"name: a\nuid: 0755", "2:6: 0755 is octal to some and decimal to others: leave the first 0 out, or write it in quotes", false},
	{"name: a\nuname: \"a\\nb\"", `2:8: uname: "a\nb": want one line of at most 255 bytes`, true},
	{"name: a\nmaxLayers: 1", "2:12: maxLayers: want a number from 2 to 2147483647, not 1", true},
	{"name: a\nlayering: size", `2:11: layering: want nixpkgs, shared, auto or popularity, not the text "size"`, true},
	{"name: a\nincludeStorePaths: no", `2:20: includeStorePaths: want true or false, not the text "no"`, true},
	{"name: a\nincludeNixDB: 1", "2:15: includeNixDB: want true or false, not the number 1", true},
	{"name: a\nroot: tmp", `2:7: root: want a list, not the text "tmp"`, true},
	{"name: a\nroot: [house]", `2:8: root: want binSh, certificates, home, osRelease, passwd, tmp or usrBinEnv, not the text "house"`, true},
	{"name: a\nname: b", `2:1: the key "name" is there twice, first in line 1`, false},
	{"name: a\nconfig: {Env: [], \"Env\": []}", `2:19: the key "Env" is there twice, first in line 2`, false},
	{`{"name":"a","config":{"x":1,"x":2}}`, `1:29: the key "x" is there twice, first in line 1`, false},
	{"name: a\nconfig: {ExposedPorts: {8080: {}}}", "2:25: the key is the number 8080: write it in quotes", false},
	{"name: a\nconfig: {x: \"\\0\"}", `2:13: the text "\x00" has a NUL, which Nix allows in no string`, false},
	{"name: A\n---\nname: a\ntag: latest", "3:1: a second image a:latest for the same architecture and variant, the first is in line 1", false},
	{"name: a\nlayeringPipeline: []", "2:1: layeringPipeline needs a build: build it with Nix and put its conf.json in --images", true},
	{"name: a\nenableFakechroot: true\nuid: x", "2:1: enableFakechroot needs a build: build it with Nix and put its conf.json in --images\n" +
		`3:6: uid: want a whole number, not the text "x"`, true},
}

func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		images, err := Parse("f", []byte(c.data))
		if err == nil || images != nil {
			t.Errorf("%q: %v, %v", c.data, images, err)
			continue
		}
		if got := strings.ReplaceAll("\n"+err.Error(), "\nf:", "\n")[1:]; got != c.want {
			t.Errorf("%q:\n%s\nnot\n%s", c.data, got, c.want)
		}
	}
}

func TestKindsOfErrors(t *testing.T) {
	for data, want := range map[string]struct{ invalid, unsupported bool }{
		"name: a\nextraCommands: ls":           {false, true},
		"name: a\nextraCommands: ls\nuid: -1":  {true, true},
		"name: a\nuid: -1":                     {true, false},
		"name: [":                              {true, false},
		strings.Repeat("x", maxFile+1):         {true, false},
		"- 1\n" + strings.Repeat("- 1\n", 1e4): {true, false},
	} {
		_, err := Parse("f", []byte(data))
		if errors.Is(err, fs.ErrInvalid) != want.invalid || errors.Is(err, errors.ErrUnsupported) != want.unsupported {
			t.Errorf("%.50q: %v", data, err)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := Parse("f", []byte(strings.Repeat("- 1\n", 1000)))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxProblems+1 || lines[maxProblems] != "f:100:3: and 900 problems more" {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
}

// Both forms are bounded alike, whatever an alias stands for.
func TestBounds(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	laughs := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'h'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 10))
	}
	for name, c := range map[string]struct{ file, data, want string }{
		"depth, JSON":  {"f.json", `{"name":"a","meta":` + nested(120) + `}`, "nested more than 100 deep"},
		"depth, YAML":  {"f.yaml", "name: a\nmeta: " + nested(120), "nested more than 100 deep"},
		"values, JSON": {"f.json", `[` + strings.Repeat("0,", maxNodes) + `0]`, "more than 500000 values: divide the file"},
		"values, YAML": {"f.yaml", `[` + strings.Repeat("x,", maxNodes) + `x]`, "more than 500000 lines and values: divide the file"},
		"aliases":      {"f.yaml", "name: a\nmeta:\n  " + strings.ReplaceAll(laughs, "\n", "\n  "), "more than 500000 values: divide the file"},
		"cycle":        {"f.yaml", "name: a\nmeta: &a [*a]", "nested more than 100 deep"},
		"bytes":        {"f.yaml", strings.Repeat("#", maxFile+1), "the file has more than 16 MiB: divide it"},
		"digits":       {"f.json", `{"name":"a","uid":` + strings.Repeat("9", 101) + `}`, strings.Repeat("9", 50) + "… has more than 100 digits"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(c.file, []byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.300v", err)
			}
		})
	}
}

// What follows a value that is passed over is read.
func TestAfterTooDeep(t *testing.T) {
	deep := strings.Repeat(`[{"x":`, 60) + `0` + strings.Repeat(`}]`, 60)
	_, err := Parse("f.json", []byte(`{"name":"a","meta":`+deep+",\n"+`"uid":-1,"gid":-2}`))
	const want = "f.json:1:320: nested more than 100 deep\n" +
		"f.json:2:7: uid: want a number from 0 to 4294967294, not -1\n" +
		"f.json:2:16: gid: want a number from 0 to 4294967294, not -2"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func BenchmarkParse(b *testing.B) {
	var yaml strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&yaml, "---\nname: team/app%d\ntag: v1\ncontents:\n  - %s\n  - coreutils\nconfig:\n  Cmd: [/bin/hello, -v]\n"+
			"  Env: [\"PATH=/bin\", \"LANG=C.UTF-8\"]\n  User: \"1000:1000\"\n  ExposedPorts: {\"8080/tcp\": {}}\n"+
			"  Labels:\n    org.opencontainers.image.title: app\nmaxLayers: 20\nroot: [passwd, tmp]\n", i, hello)
	}
	data := []byte(yaml.String())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if images, err := Parse("f.yaml", data); err != nil || len(images) != 1000 {
			b.Fatal(len(images), err)
		}
	}
}

// TestWordsAsText: runtimes take lists of words alone.
func TestWordsAsText(t *testing.T) {
	root := readSchema(t)
	for _, key := range []string{"Cmd", "Entrypoint", "Shell", "OnBuild"} { // the last is refused today
		for _, value := range []string{`/bin/ls`, `"/bin/ls -l"`, `""`} {
			data := []byte("name: a\nconfig: {" + key + ": " + value + "}")
			_, err := Parse("f.yaml", data)
			if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:2:") || !strings.Contains(err.Error(), "config."+key+": want a list of text, not the text") {
				t.Errorf("%s: %s is taken: %v", key, value, err)
			}
			if judge(t, root, "f.yaml", data) {
				t.Errorf("%s: %s is taken by the schema", key, value)
			}
		}
		for _, value := range []string{"[/bin/ls]", "[]", "null"} {
			data := []byte("name: a\nconfig: {" + key + ": " + value + "}")
			if _, err := Parse("f.yaml", data); err != nil || !judge(t, root, "f.yaml", data) {
				t.Errorf("%s: %s is refused: %v", key, value, err)
			}
		}
	}
}

// TestKeysInAnotherCase: clients take keys of config in any case, so that nothing else may pass them unseen. They are
// refused with the right spelling.
func TestKeysInAnotherCase(t *testing.T) {
	for config, want := range map[string]string{
		"cmd: [/bin/ls]": "Cmd", "CMD: [/bin/ls]": "Cmd", "entrypoint: [/bin/ls]": "Entrypoint", "env: [A=b]": "Env", "env: {A: b}": "Env",
		"user: web": "User", "workingDir: /": "WorkingDir", "exposedPorts: {80/tcp: {}}": "ExposedPorts", "labels: {a: b}": "Labels",
		"healthcheck: {Test: [NONE]}": "Healthcheck", "stopSignal: SIGINT": "StopSignal", "volumes: {/a: {}}": "Volumes",
	} {
		_, err := Parse("f.yaml", []byte("name: a\nconfig: {"+config+"}"))
		if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:2:10: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
	if _, err := Parse("f.yaml", []byte("name: a\nconfig: {Cmd: [/bin/ls], Env: [A=b], User: web}")); err != nil {
		t.Error(err)
	}
}

// TestLeavesOfConfig: what clients decode is checked down to its leaves.
func TestLeavesOfConfig(t *testing.T) {
	root := readSchema(t)
	for config, good := range map[string]bool{
		"Healthcheck: {Test: [CMD, /bin/true], Interval: 30000000000, Timeout: 1, StartPeriod: 0, StartInterval: 5, Retries: 3}": true,
		"Healthcheck: null": true, "Healthcheck: {}": true, "Healthcheck: {Test: null}": true,
		"Healthcheck: x":                 false, // as today
		"Healthcheck: {Test: curl x}":    false,
		"Healthcheck: {Test: [1]}":       false,
		"Healthcheck: {Interval: 30s}":   false,
		"Healthcheck: {Timeout: '1'}":    false,
		"Healthcheck: {StartPeriod: []}": false,
		"Healthcheck: {Retries: '3'}":    false,
	} {
		data := []byte("name: a\nconfig: {" + config + "}")
		if _, err := Parse("f.yaml", data); (err == nil) != good {
			t.Errorf("%s: %v", config, err)
		}
		if judge(t, root, "f.yaml", data) != good {
			t.Errorf("%s: the schema says %t", config, !good)
		}
	}
}

// TestConfigKey: the whole vocabulary of clients is known, and what people write in its place leads to it.
func TestConfigKey(t *testing.T) {
	for _, key := range []string{"Cmd", "ExposedPorts", "Tty", "Hostname", "StopTimeout", "MemorySwap", "ArgsEscaped"} {
		if known, meant := ConfigKey(key); !known || meant != "" {
			t.Errorf("%s: %t, %q", key, known, meant)
		}
	}
	for key, want := range map[string]string{
		"Ports": "ExposedPorts", "ports": "ExposedPorts", "Expose": "ExposedPorts", "exposedPorts": "ExposedPorts", "ExposedPort": "ExposedPorts",
		"Command": "Cmd", "CMD": "Cmd", "Args": "Cmd", "Comand": "Cmd", "Entrypont": "Entrypoint", "EntryPoint": "Entrypoint", "entry_point": "Entrypoint",
		"Environment": "Env", "Enviroment": "Env", "ENV": "Env", "Volume": "Volumes", "Mounts": "Volumes", "WorkDir": "WorkingDir", "Workdir": "WorkingDir",
		"working_dir": "WorkingDir", "WorkingDirectory": "WorkingDir", "Label": "Labels", "Users": "User", "HealthCheck": "Healthcheck",
		"stop_signal": "StopSignal", "Stopsignal": "StopSignal", "HostName": "Hostname", "Custom": "", "": "", "x": "",
	} {
		if known, meant := ConfigKey(key); known || meant != want {
			t.Errorf("%s: %t, %q, not %q", key, known, meant, want)
		}
	}
}
