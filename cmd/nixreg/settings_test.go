package main

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/internal/setting"
	"github.com/nixreg/nixreg/manifest/imagefile"
	programs "github.com/nixreg/nixreg/manifest/program"
)

// parsed is what a file with the text says of settings, and of mirrors.
func parsed(name, text string) (setting.File, []server.Mirror, error) {
	var mirrors []server.Mirror
	file, err := setting.Parse(name, []byte(text), settings(), sections(&mirrors))
	return file, mirrors, err
}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"comment", "# nothing\n", ""},
		{"null", "~\n", ""},
		{"empty document", "---\n", ""},
		{"all", "listen: a:1\ndata: /d\nimages: [x, 'y z']\nstore:\n- local\ndemo: true\nlog-format: json\nlog-level: debug\n",
			"data=/d demo=true images=x,y z listen=a:1 log-format=json log-level=debug store=local"},
		{"empty list", "images: []\n", "images="},
		{"unknown key", "listen: a:1\n\ncolor: 1\n", `f:3: unknown key "color"`},
		{"config is no key", "config: x\n", `f:1: unknown key "config"`},
		{"other case", "Listen: a:1\n", `f:1: unknown key "Listen": did you mean listen?`},
		{"twice", "demo: true\n\ndemo: true\n", `f:3: key "demo" comes twice`},
		{"number", "listen: 5000\n", `f:1: listen: want a string: put it in quotes, "5000"`},
		{"size without quotes", "demo: true\nblob-cache: 0\n", `f:2: blob-cache: want a string: put it in quotes, "0"`},
		{"no value", "listen:\n", "f:1: listen: want a string"},
		{"list for text", "data: [x]\n", "f:1: data: want a string"},
		{"text for list", "store: local\n", "f:1: store: want a list of strings"},
		{"text for toggle", "demo: 'true'\n", "f:1: demo: want true or false"},
		{"number in list", "store:\n- local\n- 1\n", "f:3: store: want a list of strings"},
		{"alias", "listen: &x a:1\ndata: *x\n", "f:2: data: want a string"},
		{"merge", "<<: {listen: a:1}\n", `f:1: unknown key "<<"`},
		{"key is a list", "[listen]: x\n", `f:1: unknown key ""`},
		{"list", "- listen\n", "f:1: want keys and values"},
		{"two documents", "demo: true\n---\ndemo: false\n", "f:2: a second document"},
		{"mirrors are no list", "mirrors: [docker.io]\n", "f:1: want keys and values"},
		{"mirror of an unknown key", "mirrors:\n  quay.io:\n    color: 1\n", `f:3: unknown key "color"`},
		{"mirror of a wrong type", "mirrors:\n  quay.io:\n    allow: x\n", "f:3: allow: want a list of strings"},
		{"mirror with a wrong time", "mirrors:\n  quay.io:\n    ttl: 5\n", `f:3: ttl: want a string: put it in quotes, "5"`},
		{"mirror with a wrong unit", "mirrors:\n  quay.io:\n    ttl: '5'\n", `f:3: ttl "5": want a duration, such as 30s, 5m or 12h`},
		{"mirror that allows nothing", "mirrors:\n  quay.io:\n    allow: []\n", "f:3: allow: nothing is allowed: leave the key out to allow all"},
		{"mirror with half a login", "mirrors:\n  quay.io: {username: bob}\n", "f:2: mirror quay.io: username and password-file belong together"},
		{"mirror twice", "mirrors:\n  quay.io:\n  quay.io:\n", `f:3: key "quay.io" comes twice`},
		{"mirror with a port", "mirrors:\n  a:5000:\n", `f:2: mirror "a:5000": want NAME or NAME=URL, where NAME can be part of an image's name: docker.io, lab=http://127.0.0.1:5001`},
		{"mirror with a path", "mirrors:\n  a:\n    url: https://b/c\n", `f:2: mirror a: "https://b/c": want http:// or https:// and a host, no more`},
		{"syntax", "demo: true\n\tx", "f:2: "},
		{"unclosed", "listen: a:1\ndata: [", "f:2: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, _, err := parsed("f", tt.in)
			values := file.Values
			var got []string
			for _, k := range slices.Sorted(maps.Keys(values)) {
				got = append(got, k+"="+strings.Join(values[k], ","))
			}
			s := strings.Join(got, " ")
			if err != nil {
				s = err.Error()
			}
			if s != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(s, tt.want)) {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("listen: a:1\nstore: [local]\ndemo: true\n"))
	f.Add([]byte("mirrors:\n  lab: {url: 'http://127.0.0.1:5001', ttl: 1m, allow: [a/*], tls-verify: false}\n  quay.io:\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("---\n...\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, mirrors, err := parsed("f", string(data))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error %q", err)
			}
			return
		}
		for _, m := range mirrors {
			if err := m.Check(); err != nil {
				t.Errorf("mirror %q: %v", m.Name, err)
			}
		}
		for name, v := range file.Values {
			i := slices.IndexFunc(settings(), func(s setting.Setting) bool { return s.Name == name })
			if i < 0 || v == nil || settings()[i].Kind != setting.List && len(v) != 1 {
				t.Errorf("%s: %q", name, v)
			}
		}
	})
}

// filled is the config of args, env and file for a command with all flags.
func filled(t *testing.T, args []string, env map[string]string, file string) (*config, error) {
	t.Helper()
	if file != "" {
		name := filepath.Join(t.TempDir(), "nixreg.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	c := new(config)
	cmd := &cobra.Command{RunE: func(cmd *cobra.Command, _ []string) error {
		return c.fill(cmd, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	}}
	c.sourceFlags(cmd, "info")
	c.serverFlags(cmd)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetFlagErrorFunc(flagError)
	err := cmd.Execute()
	c.file, c.LookupEnv = "", nil
	return c, err
}

func TestPrecedence(t *testing.T) {
	const file = "listen: file:1\nimages: [file]\nstore: [file]\ndemo: true\nlog-format: json\n"
	sep := string(filepath.ListSeparator)
	env := map[string]string{
		"NIXREG_LISTEN": "env:1", "NIXREG_IMAGES": "env1" + sep + "env 2", "NIXREG_STORE": " env1  env2 ",
		"NIXREG_DEMO": "false", "NIXREG_DATA": "", "NIXREG_E2E": "1",
	}
	flags := []string{"--listen", "flag:1", "--images", "a,b", "--images", "c", "--store", "flag", "--demo"}
	defaults := config{mirrorTTL: 5 * time.Minute, Config: server.Config{
		Layering: imagefile.Shared,
		Listen:   defaultListen, Wait: defaultWait, BlobCache: 4e9, MirrorCache: 10e9, NARCache: 10e9,
		ChannelRefresh: time.Hour, BuildTimeout: 30 * time.Minute, BuildJobs: 2, BuildMemory: 4e9, Keep: 168 * time.Hour,
	}}
	with := func(listen string, images, stores []string, demo, logJSON bool) config {
		c := defaults
		c.Listen, c.Images, c.Stores, c.Demo, c.logJSON = listen, images, stores, demo, logJSON
		return c
	}
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		file string
		want config
	}{
		{"default", nil, nil, "", defaults},
		{"file", nil, nil, file, with("file:1", []string{"file"}, []string{"file"}, true, true)},
		{"env", nil, env, file, with("env:1", []string{"env1", "env 2"}, []string{"env1", "env2"}, false, true)},
		{"flag", flags, env, file, with("flag:1", []string{"a,b", "c"}, []string{"flag"}, true, true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := filled(t, tt.args, tt.env, tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*c, tt.want) {
				t.Errorf("got %+v, want %+v", *c, tt.want)
			}
		})
	}
}

func TestConfigFileTooLarge(t *testing.T) {
	_, err := filled(t, nil, nil, strings.Repeat("#", setting.MaxFile+1))
	if err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}

func TestArchitectures(t *testing.T) {
	c, err := filled(t, nil, map[string]string{"NIXREG_ARCH": "amd64,arm64 riscv64"}, "")
	if err != nil || !slices.Equal(c.Architectures, []string{"amd64", "arm64", "riscv64"}) {
		t.Errorf("%q, %v", c.Architectures, err)
	}
	for _, s := range programs.Architectures() {
		if c, err := filled(t, []string{"--arch", s}, nil, ""); err != nil || !slices.Equal(c.Architectures, []string{s}) {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"x86_64", "", "amd64,"} {
		if _, err := filled(t, []string{"--arch", s}, nil, ""); err == nil || !strings.HasPrefix(err.Error(), "arch \"") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCacheSettings(t *testing.T) {
	for args, want := range map[string]string{
		"--nar-cache=much":       `nar-cache "much": want a size, such as 500MB or 4GB`,
		"--channel-refresh=5":    `channel-refresh "5": want a duration, such as 30m or 12h, of a minute at least`,
		"--channel-refresh=59s":  `channel-refresh "59s": want a duration, such as 30m or 12h, of a minute at least`,
		"--channel-refresh=-12h": `channel-refresh "-12h": want a duration, such as 30m or 12h, of a minute at least`,
	} {
		if _, err := filled(t, []string{args}, nil, ""); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestBuildSettings(t *testing.T) {
	for args, want := range map[string]string{
		"--build=a --build-file=b":   "build and build-file: give one of them",
		"--build-timeout=5":          `build-timeout "5": want a duration, such as 30m or 12h, of 1s at least`,
		"--build-timeout=0s":         `build-timeout "0s": want a duration, such as 30m or 12h, of 1s at least`,
		"--build-jobs=0":             "build-jobs 0: want a number from 1 to 1000",
		"--build-memory=much":        `build-memory "much": want a size, such as 500MB or 4GB`,
		"--build-memory=0":           `build-memory "0": want a size, such as 500MB or 4GB`,
		"--keep=-1h":                 `keep "-1h": want a duration, such as 30m or 12h, of 1s at least`,
		"--build-memory=90000000 TB": `build-memory "90000000 TB": want a size, such as 500MB or 4GB`,
	} {
		var list []string
		for a := range strings.SplitSeq(args, " --") {
			list = append(list, "--"+strings.TrimPrefix(a, "--"))
		}
		if _, err := filled(t, list, nil, ""); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	c, err := filled(t, nil, map[string]string{"NIXREG_BUILD": "nixpkgs", "NIXREG_BUILD_JOBS": "7", "NIXREG_KEEP": "2h"}, "build-jobs: 3\nbuild-memory: 1GB\nbuild-timeout: 1m\n")
	if err != nil || c.Build != "nixpkgs" || c.Keep != 2*time.Hour || c.BuildJobs != 7 || c.BuildTimeout != time.Minute || c.BuildMemory != 1e9 {
		t.Errorf("%+v, %v", c, err)
	}
	for file, want := range map[string]string{
		"build-jobs: '3'\n": "build-jobs: want a number",
		"build-jobs: 3.5\n": "build-jobs: want a number",
		"build: [a]\n":      "build: want a string",
		"keep: 5\n":         `keep: want a string: put it in quotes, "5"`,
	} {
		if _, err := filled(t, nil, nil, file); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", file, err, want)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 10240: "10.2 kB", 999_949: "999.9 kB", 999_950: "1.0 MB",
		12_800_000: "12.8 MB", 1 << 62: "4.6 EB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
