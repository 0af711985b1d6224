package manifest_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestCheckOfConfigs: misspelled keys are problems at their place; a program or a user that the image lacks is a warning.
func TestCheckOfConfigs(t *testing.T) {
	m, _, hello := withHello()
	m.Add("users-1", storetest.Files{"etc/passwd": storetest.File("root:x:0:0::/:/bin/sh\nweb:x:7:7::/:/bin/sh\n"), "bin/plain": storetest.File("")})
	program := hello.Abs() + "/bin/hello"
	for config, want := range map[string]string{
		"Cmd: [/bin/hello]": "", "Cmd: [hello]": "", "Cmd: [bin/hello]": "", "Cmd: []": "", "Cmd: null": "", "Tty: true": "", "Hostname: a": "",
		"Cmd: [" + program + "]":                      "",
		"Entrypoint: [/bin/hello], Cmd: [--nonsense]": "",
		"Cmd: [hello], Env: [PATH=/sbin:/bin]":        "",
		"Cmd: [./hello], WorkingDir: /bin":            "",
		"User: web":                                   "",
		"User: 'web:0'":                               "",
		"User: '1000:1000'":                           "",
		"User: ''":                                    "",
		"Ports: {}":                                   `problem 1:45: config: unknown key "Ports": did you mean ExposedPorts?`,
		"Cmd: [hello], Command: [a]":                  `problem 1:59: config: unknown key "Command": did you mean Cmd?`,
		"cmd: [hello]":                                `problem 1:45: config: unknown key "cmd": did you mean Cmd?`,
		"Custom: a":                                   `warning 1:1: config: unknown key "Custom": clients ignore it`,
		"Cmd: [/bin/helo]":                            `warning 1:1: config: Cmd runs "/bin/helo", which is not in the image`,
		"Cmd: [/bin/plain]":                           `warning 1:1: config: Cmd runs "/bin/plain", which is not a program: it is no file that may be executed`,
		"Cmd: [/bin]":                                 `warning 1:1: config: Cmd runs "/bin", which is not a program: it is no file that may be executed`,
		"Cmd: [" + program + "x]":                     `warning 1:1: config: Cmd runs "` + program + `x", which is not in the image`,
		"Entrypoint: [/bin/helo], Cmd: [hello]":       `warning 1:1: config: Entrypoint runs "/bin/helo", which is not in the image`,
		"Cmd: [helo]":                                 `warning 1:1: config: Cmd runs "helo", which is in no directory of PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)`,
		"Cmd: [hello], Env: [PATH=/sbin]":             `warning 1:1: config: Cmd runs "hello", which is in no directory of PATH (/sbin)`,
		"Cmd: [./hello], WorkingDir: /srv":            `warning 1:1: config: Cmd runs "./hello", which is not in the image`,
		"User: app":                                   `warning 1:1: config: User is "app", and the image's /etc/passwd has no "app": write a number, or add passwd to root`,
		"User: we":                                    `warning 1:1: config: User is "we", and the image's /etc/passwd has no "we": write a number, or add passwd to root`,
		"User: 'web:staff'":                           `warning 1:1: config: User is "web:staff", and the image's /etc/group has no "staff": write a number, or add passwd to root`,
	} {
		file := filepath.Join(t.TempDir(), "a.yaml")
		write(t, file, "{name: x, contents: [hello,users], config: {"+config+"}}")
		var got []string
		cfg := manifest.Config{Stores: []store.Store{m}, Warn: func(w error) { got = append(got, "warning "+w.Error()) }}
		if err := manifest.Check(ctx, cfg, file); err != nil {
			got = append(got, "problem "+err.Error())
		}
		if all := strings.ReplaceAll(strings.Join(got, "\n"), file+":", ""); all != want {
			t.Errorf("%s:\n%s\nnot\n%s", config, all, want)
		}
	}
}

// TestRootOfDefinitionHasItsUser: what root brings is in the image.
func TestRootOfDefinitionHasItsUser(t *testing.T) {
	m, _, _ := withHello()
	m.Add("bash-5", storetest.Files{"bin/sh": storetest.Exec("")})
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "{name: x, contents: bash, root: [passwd, binSh], config: {User: app, Cmd: [/bin/sh]}}")
	cfg := manifest.Config{Stores: []store.Store{m}, Warn: func(w error) { t.Error(w) }}
	if err := manifest.Check(ctx, cfg, file); err != nil {
		t.Error(err)
	}
}

// TestServeWarnsOfConfig: an image whose config has faults is served, and its warnings are those of check.
func TestServeWarnsOfConfig(t *testing.T) {
	m, _, _ := withHello()
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "{name: x, contents: hello, config: {Ports: {}, User: app}}")
	src := newSource(t, file, m)
	warnings := inspect(t, src, "x", "latest").Warnings
	if len(warnings) != 2 || !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "did you mean ExposedPorts?") }) {
		t.Errorf("warnings are %q", warnings)
	}
}

// TestCheckOfConfigOfConf: the config of a conf.json has the same keys.
func TestCheckOfConfigOfConf(t *testing.T) {
	m, _, _ := withHello()
	file := filepath.Join(t.TempDir(), "conf.json")
	write(t, file, confText(t, m, map[string]any{"config": map[string]any{"Entrypont": []string{"/bin/hello"}}}))
	err := check(m, file)
	if want := file + `: config: unknown key "Entrypont": did you mean Entrypoint?`; err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
}
