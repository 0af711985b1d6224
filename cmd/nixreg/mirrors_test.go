package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/manifest/packages"
	programs "github.com/nixreg/nixreg/manifest/program"
)

const described = `
mirrors:
  docker.io:
    username: bob
    password-file: /run/hub
    ttl: 1h
    allow: [library/*]
    deny: ["library/*-old"]
  quay.io:
  lab: {url: "http://127.0.0.1:5001", tls-verify: false}
`

// withMirrors are the settings that a command line comes to, with a file that describes mirrors.
func withMirrors(t *testing.T, args ...string) (*config, error) {
	t.Helper()
	file := t.TempDir() + "/nixreg.yaml"
	if err := os.WriteFile(file, []byte(described), 0o600); err != nil {
		t.Fatal(err)
	}
	c := new(config)
	cmd := &cobra.Command{}
	c.sourceFlags(cmd, "info")
	c.serverFlags(cmd)
	if err := cmd.ParseFlags(append([]string{"--config", file}, args...)); err != nil {
		return c, flagError(cmd, err)
	}
	return c, c.fill(cmd, func(string) (string, bool) { return "", false })
}

func TestMirrorsOfFileAndFlags(t *testing.T) {
	c, err := withMirrors(t, "--mirror", "ghcr.io", "--mirror", "quay.io=https://quay.example", "--mirror", "docker.io", "--mirror-ttl", "10m",
		"--mirror-listen", "127.0.0.1:5001", "--mirror-listen", "lab=localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	want := []server.Mirror{
		{Name: "docker.io", Username: "bob", PasswordFile: "/run/hub", TTL: time.Hour, Allow: []string{"library/*"}, Deny: []string{"library/*-old"}},
		{Name: "quay.io", URL: "https://quay.example", TTL: 10 * time.Minute},
		{Name: "lab", URL: "http://127.0.0.1:5001", SkipVerify: true, TTL: 10 * time.Minute},
		{Name: "ghcr.io", TTL: 10 * time.Minute},
	}
	if !reflect.DeepEqual(c.Mirrors, want) {
		t.Errorf("got  %+v\nwant %+v", c.Mirrors, want)
	}
	if want := []server.MirrorListener{{Mirror: "docker.io", Addr: "127.0.0.1:5001"}, {Mirror: "lab", Addr: "localhost:0"}}; !reflect.DeepEqual(c.MirrorListen, want) {
		t.Errorf("listeners %+v, want %+v", c.MirrorListen, want)
	}
	if got := c.Mirrors[1].Hosts(); !reflect.DeepEqual(got, []string{"quay.io", "quay.example"}) {
		t.Errorf("quay.io is also called %q", got)
	}
}

func TestWrongMirrors(t *testing.T) {
	for args, want := range map[string]string{
		"--mirror a:5000":                       `mirror "a:5000": want NAME or NAME=URL`,
		"--mirror A.io":                         `mirror "A.io": want NAME`,
		"--mirror a/b":                          `mirror "a/b": want NAME`,
		"--mirror =https://a":                   `mirror "": want NAME`,
		"--mirror store":                        `mirror "store": the name has another meaning`,
		"--mirror a=ftp://a":                    `mirror a: "ftp://a": want http:// or https://`,
		"--mirror a=https://u:p@a":              `mirror a: "https://u:p@a": want http:// or https://`,
		"--mirror a=https://a/v2/x":             `mirror a: "https://a/v2/x": want http:// or https://`,
		"--mirror a=https://a:99999":            `mirror a: "https://a:99999": there is no port 99999`,
		"--mirror-cache=":                       `mirror-cache "": want a size`,
		"--serve-as docker.io":                  `serve-as docker.io: it is mirrored, too`,
		"--mirror a --mirror a":                 `mirror a is named twice`,
		"--mirror a=https://b --mirror b":       `mirrors a and b are both of b`,
		"--mirror-ttl 5":                        `mirror-ttl "5": want a duration`,
		"--mirror-ttl -5m":                      `mirror-ttl "-5m": want a duration`,
		"--mirror-cache much":                   `mirror-cache "much": want a size`,
		"--mirror-listen ghcr.io=127.0.0.1:1":   `there is no mirror "ghcr.io"`,
		"--mirror-listen lab=127.0.0.1":         `mirror-listen "127.0.0.1": want HOST:PORT`,
		"--mirror-listen lab=127.0.0.1:99999":   `mirror-listen "127.0.0.1:99999": want HOST:PORT`,
		"--mirror-listen 127.0.0.1:5001:docker": `want HOST:PORT`,
	} {
		_, err := withMirrors(t, strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
}

// A first component that has another meaning is no mirror's name, wherever mirrors are named. The words are those that names
// of packages are told from, whichever these are.
func TestReservedMirrors(t *testing.T) {
	words := append(programs.Architectures(), "store", "shell")
	for _, word := range words {
		want := `mirror "` + word + `": the name has another meaning`
		for _, flag := range []string{word, word + "=https://a.example"} {
			if _, err := withMirrors(t, "--mirror", flag); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("--mirror %s: %v", flag, err)
			}
		}
		if _, _, err := parsed("f", "mirrors:\n  '"+word+"':\n"); err == nil || !strings.Contains(err.Error(), "f:2: "+want) {
			t.Errorf("mirrors: %s: %v", word, err)
		}
		if !packages.Reserved(word) {
			t.Errorf("%s may be a package", word)
		}
	}
	for _, word := range []string{"amd64.example", "stores", "lab"} {
		if _, err := withMirrors(t, "--mirror", word+"=https://a.example"); err != nil || packages.Reserved(word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// Docker's registry-mirrors are for Docker Hub: where there is a mirror of it, a listener needs no name.
func TestMirrorListenerWithoutName(t *testing.T) {
	lab, quay, hub := server.Mirror{Name: "lab"}, server.Mirror{Name: "quay.io"}, server.Mirror{Name: "docker.io"}
	for _, c := range []struct {
		mirrors []server.Mirror
		want    string
	}{
		{[]server.Mirror{lab, hub}, "docker.io"},
		{[]server.Mirror{lab}, "lab"},
		{[]server.Mirror{lab, quay}, ""},
		{nil, ""},
	} {
		l, err := server.MirrorListener{Addr: "localhost:5001"}.Find(c.mirrors)
		if l != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v; want %q", c.mirrors, l, err, c.want)
		}
	}
}
