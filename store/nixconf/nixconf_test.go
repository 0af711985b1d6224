package nixconf_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/store/nixconf"
)

const (
	nixos = "https://cache.nixos.org/"
	key   = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
)

// machine is a home, the system's configuration, and what the environment says.
type machine struct {
	dir string
	env map[string]string
}

// newMachine writes files, by names relative to a directory that stands in their text, and in those of env, as DIR.
func newMachine(t *testing.T, files, env map[string]string) machine {
	t.Helper()
	m := machine{t.TempDir(), map[string]string{"NIX_CONF_DIR": "DIR/etc", "HOME": "DIR/home", "XDG_CONFIG_DIRS": "DIR/xdg"}}
	maps.Copy(m.env, env)
	for k, v := range m.env {
		m.env[k] = strings.ReplaceAll(v, "DIR", m.dir)
	}
	for name, text := range files {
		file := filepath.Join(m.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", m.dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m machine) lookup(name string) (string, bool) {
	v, ok := m.env[name]
	return v, ok
}

// cases are configurations, and the substituters that come of them. Real Nix is asked for the same.
var cases = []struct {
	name       string
	files, env map[string]string
	want       string
}{
	{"none", nil, nil, nixos},
	{"system", map[string]string{"etc/nix.conf": "substituters = a b\n"}, nil, "a b"},
	{"empty list", map[string]string{"etc/nix.conf": "substituters =\n"}, nil, ""},
	{"old name", map[string]string{"etc/nix.conf": "binary-caches = a\n"}, nil, "a"},
	{"extra", map[string]string{"etc/nix.conf": "extra-substituters = a\n"}, nil, nixos + " a"},
	{"extra of the old name", map[string]string{"etc/nix.conf": "extra-binary-caches = a\n"}, nil, nixos + " a"},
	{"extra before", map[string]string{"etc/nix.conf": "extra-substituters = a\nsubstituters = b\n"}, nil, "b"},
	{"white space", map[string]string{"etc/nix.conf": "\t substituters\t= a \t b\r\n\r\n"}, nil, "a b"},
	{"comments", map[string]string{"etc/nix.conf": "# substituters = x\nsubstituters = a # b\n#"}, nil, "a"},
	{"comment within", map[string]string{"etc/nix.conf": "substituters = a#b"}, nil, "a"},
	{"no end of line", map[string]string{"etc/nix.conf": "substituters = a"}, nil, "a"},
	{"unknown", map[string]string{"etc/nix.conf": "colour = red\nextra-colour = x\nsandbox = false\nsubstituters = a\n"}, nil, "a"},
	{"user over system", map[string]string{"etc/nix.conf": "substituters = a\n", "home/.config/nix/nix.conf": "extra-substituters = b\n"}, nil, "a b"},
	{"user over shared", map[string]string{"xdg/nix/nix.conf": "substituters = a\n", "home/.config/nix/nix.conf": "extra-substituters = b\n"}, nil, "a b"},
	{"shared in order", map[string]string{"nix/nix.conf": "substituters = cwd\n", "x/nix/nix.conf": "extra-substituters = a\n", "y/nix/nix.conf": "substituters = b\n"},
		map[string]string{"XDG_CONFIG_DIRS": "DIR/x::DIR/y"}, "b a"},
	{"config home", map[string]string{"c/nix/nix.conf": "substituters = a\n", "home/.config/nix/nix.conf": "substituters = b\n"},
		map[string]string{"XDG_CONFIG_HOME": "DIR/c"}, "a"},
	{"user files", map[string]string{"1": "extra-substituters = a\n", "2": "substituters = b\n", "home/.config/nix/nix.conf": "substituters = c\n"},
		map[string]string{"NIX_USER_CONF_FILES": "DIR/1:DIR/2:DIR/absent"}, "b a"},
	{"no user files", map[string]string{"home/.config/nix/nix.conf": "substituters = c\n"}, map[string]string{"NIX_USER_CONF_FILES": ""}, nixos},
	{"variable", map[string]string{"home/.config/nix/nix.conf": "substituters = a\n"},
		map[string]string{"NIX_CONFIG": "extra-substituters = b\nextra-substituters = c"}, "a b c"},
	{"variable includes", map[string]string{"1": "substituters = a\n"}, map[string]string{"NIX_CONFIG": "include DIR/1"}, "a"},
	{"include", map[string]string{"etc/nix.conf": "include sub/a.conf\n", "etc/sub/a.conf": "include b.conf\n", "etc/sub/b.conf": "substituters = b\n"}, nil, "b"},
	{"include of none", map[string]string{"etc/nix.conf": "!include absent\nsubstituters = a\n"}, nil, "a"},
	{"include then more", map[string]string{"etc/nix.conf": "include DIR/x\nextra-substituters = b\n", "x": "substituters = a\n"}, nil, "a b"},
	{"include of a directory", map[string]string{"etc/nix.conf": "include DIR/x\nsubstituters = b\n", "x/y": ""}, nil, "b"},
}

func TestSubstituters(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.files, tt.env)
			t.Chdir(m.dir)
			c, err := nixconf.Read(m.lookup)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(c.Substituters, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAsNixDoes asks real Nix what it makes of the same files.
func TestAsNixDoes(t *testing.T) {
	if os.Getenv("NIXREG_E2E") != "1" {
		t.Skip("needs a real Nix: set NIXREG_E2E=1 where there is one")
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.files, tt.env)
			cmd := exec.CommandContext(t.Context(), "nix", "show-config", "--json", "--extra-experimental-features", "nix-command")
			cmd.Dir = m.dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			for k, v := range m.env {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var settings struct{ Substituters struct{ Value []string } }
			if err := json.Unmarshal(out, &settings); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(settings.Substituters.Value, " "); got != tt.want {
				t.Errorf("Nix says %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOtherSettings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       nixconf.Config
	}{
		{"none", "", nixconf.Config{TrustedPublicKeys: []string{key}, RequireSigs: true}},
		{"keys", "trusted-public-keys = a:1 b:2\n", nixconf.Config{TrustedPublicKeys: []string{"a:1", "b:2"}, RequireSigs: true}},
		{"keys by their old name", "binary-cache-public-keys = a:1\nextra-trusted-public-keys = b:2\n",
			nixconf.Config{TrustedPublicKeys: []string{"a:1", "b:2"}, RequireSigs: true}},
		{"no keys", "trusted-public-keys =\n", nixconf.Config{TrustedPublicKeys: []string{}, RequireSigs: true}},
		{"no signatures", "require-sigs = no\n", nixconf.Config{TrustedPublicKeys: []string{key}}},
		{"signatures again", "require-sigs = 0\nrequire-sigs = 1\n", nixconf.Config{TrustedPublicKeys: []string{key}, RequireSigs: true}},
		{"files", "netrc-file = /x\nssl-cert-file = /y\n",
			nixconf.Config{TrustedPublicKeys: []string{key}, RequireSigs: true, NetrcFile: "/x", SSLCertFile: "/y"}},
		{"no files", "netrc-file =\n", nixconf.Config{TrustedPublicKeys: []string{key}, RequireSigs: true}},
		{"not lists", "extra-netrc-file = /x\n", nixconf.Config{TrustedPublicKeys: []string{key}, RequireSigs: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := nixconf.Read(newMachine(t, map[string]string{"etc/nix.conf": tt.text}, nil).lookup)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Substituters = []string{nixos}
			if !reflect.DeepEqual(*c, tt.want) {
				t.Errorf("got %+v, want %+v", *c, tt.want)
			}
		})
	}
}

func TestFilesOfTheSurroundings(t *testing.T) {
	m := newMachine(t, map[string]string{"etc/netrc": "", "etc/nix.conf": ""}, map[string]string{"NIX_SSL_CERT_FILE": "DIR/ca"})
	c, err := nixconf.Read(m.lookup)
	if err != nil {
		t.Fatal(err)
	}
	if c.NetrcFile != m.dir+"/etc/netrc" || c.SSLCertFile != m.dir+"/ca" {
		t.Errorf("netrc %q, certificates %q", c.NetrcFile, c.SSLCertFile)
	}
	m.env["NIX_CONFIG"] = "ssl-cert-file = /other"
	if c, err = nixconf.Read(m.lookup); err != nil || c.SSLCertFile != "/other" {
		t.Errorf("certificates %q, %v", c.SSLCertFile, err)
	}
}

func TestMistakes(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, tt := range []struct {
		name, text, want string
		kind             error
	}{
		{"one word", "\nsubstituters\n", `DIR/etc/nix.conf:2: "substituters": want NAME = VALUE, with spaces around the =: invalid argument`, fs.ErrInvalid},
		{"no spaces", "a=b c=d", `DIR/etc/nix.conf:1: "a=b c=d": want NAME = VALUE, with spaces around the =: invalid argument`, fs.ErrInvalid},
		{"long", long, `DIR/etc/nix.conf:1: "` + long[:100] + `": want NAME = VALUE, with spaces around the =: invalid argument`, fs.ErrInvalid},
		{"two files", "!include a b", `DIR/etc/nix.conf:1: want !include FILE: invalid argument`, fs.ErrInvalid},
		{"no file", "include", `DIR/etc/nix.conf:1: want include FILE: invalid argument`, fs.ErrInvalid},
		{"absent", "\n\ninclude none", `DIR/etc/nix.conf:3: include: open DIR/etc/none: no such file or directory (!include does without)`, fs.ErrNotExist},
		{"in an included file", "include ../bad", `DIR/bad:2: "x": want NAME = VALUE, with spaces around the =: invalid argument`, fs.ErrInvalid},
		{"not true and not false", "require-sigs = maybe", `DIR/etc/nix.conf:1: require-sigs is "maybe": want true or false: invalid argument`, fs.ErrInvalid},
		{"a circle", "include nix.conf", `DIR/etc/nix.conf:1: "DIR/etc/nix.conf": files include one another without end: invalid argument`, fs.ErrInvalid},
		{"wide", "include ../wide\n", `DIR/wide:257: "DIR/one": files include one another without end: invalid argument`, fs.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, map[string]string{
				"etc/nix.conf": tt.text, "bad": "#\nx", "one": "", "wide": "\n" + strings.Repeat("include one\n", 300),
			}, nil)
			_, err := nixconf.Read(m.lookup)
			if err == nil || err.Error() != strings.ReplaceAll(tt.want, "DIR", m.dir) || !errors.Is(err, tt.kind) {
				t.Errorf("error is\n%v, want\n%s", err, tt.want)
			}
		})
	}
}

// TestConfigHome: Nix's own variable, which old ones do not know, is before that of all programs.
func TestConfigHome(t *testing.T) {
	m := newMachine(t, map[string]string{"n/nix.conf": "substituters = a\n", "x/nix/nix.conf": "substituters = b\n"},
		map[string]string{"NIX_CONFIG_HOME": "DIR/n", "XDG_CONFIG_HOME": "DIR/x"})
	if c, err := nixconf.Read(m.lookup); err != nil || !slices.Equal(c.Substituters, []string{"a"}) {
		t.Errorf("%q, %v", c.Substituters, err)
	}
}

// TestUnread: what cannot be read is passed over, and told.
func TestUnread(t *testing.T) {
	m := newMachine(t, map[string]string{
		"etc/nix.conf/x": "", "big": "substituters = x\n" + strings.Repeat("#", 1<<20), "home/.config/nix/nix.conf": "include DIR/big\n!include DIR/etc\n",
	}, nil)
	c, err := nixconf.Read(m.lookup)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Unread) != 3 || !slices.Equal(c.Substituters, []string{nixos}) {
		t.Errorf("%q, unread %v", c.Substituters, c.Unread)
	}
}

// TestHomeOfAnother: $HOME is not believed where it belongs to somebody else.
func TestHomeOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	m := newMachine(t, map[string]string{"home/.config/nix/nix.conf": "substituters = a\n"}, nil)
	if err := os.Chown(m.env["HOME"], 12345, -1); err != nil {
		t.Fatal(err)
	}
	if c, err := nixconf.Read(m.lookup); err != nil || slices.Equal(c.Substituters, []string{"a"}) {
		t.Errorf("%q, %v", c.Substituters, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, tt := range cases {
		for _, text := range tt.files {
			f.Add(text)
		}
	}
	f.Add("require-sigs = yes\ntrusted-public-keys = a b\n!include x\nsubstituters")
	f.Fuzz(func(t *testing.T, text string) {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "include") {
				return // it is not for a fuzzer to choose files
			}
		}
		env := map[string]string{"NIX_CONFIG": text, "NIX_CONF_DIR": "/nonexistent", "NIX_USER_CONF_FILES": ""}
		c, err := nixconf.Read(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		if err != nil {
			if !strings.HasPrefix(err.Error(), "NIX_CONFIG:") || !errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q", err)
			}
			return
		}
		for _, word := range slices.Concat(c.Substituters, c.TrustedPublicKeys) {
			if word == "" || strings.ContainsAny(word, " \t\r\n#") {
				t.Errorf("word %q", word)
			}
		}
	})
}

// TestNoPipe: to open a pipe would wait for its other end.
func TestNoPipe(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"nix.conf", "netrc"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"NIX_CONF_DIR": dir}
	c, err := nixconf.Read(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil || len(c.Unread) != 1 || c.NetrcFile != "" {
		t.Errorf("%+v, %v", c, err)
	}
}
