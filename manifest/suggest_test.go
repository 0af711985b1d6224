package manifest_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestUnknownNames: the error about a name that nobody knows has the word that would work, or the part that is missing.
func TestUnknownNames(t *testing.T) {
	m, lib, hello := withHello()
	m.Add("python3.12-requests-2.31.0", storetest.Files{"bin/x": storetest.Exec("")})
	m.Add("git-2.44.0", storetest.Files{"bin/git": storetest.Exec("")})
	m.Add("bash-5.2", storetest.Files{"bin/bash": storetest.Exec("")})
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "{name: team/web, contents: hello}")
	src := newSource(t, file, m)
	for name, want := range map[string]string{
		"Hello": "did you mean hello?", "HELLO": "did you mean hello?", "hello-2.12.1": "did you mean hello:2.12.1?", "Hello-2.12.1": "did you mean hello:2.12.1?",
		"hello-9": "did you mean hello?", "pkgs.hello": "did you mean hello?", "nixpkgs.hello": "did you mean hello?", "nixpkgs#hello": "did you mean hello?",
		"legacyPackages.x86_64-linux.hello": "did you mean hello?", "library/hello": "did you mean hello?", "pkgs.hello-2.12.1": "did you mean hello:2.12.1?",
		hello.Abs(): "did you mean store/" + hello.Hash() + "?", hello.Abs()[1:]: "did you mean store/" + hello.Hash() + "?",
		string(hello): "did you mean store/" + hello.Hash() + "?", lib.Hash(): "did you mean store/" + lib.Hash() + "?",
		hello.Abs() + "/bin/hello": "did you mean store/" + hello.Hash() + "?",
		"helo":                     "did you mean hello?", "hellow": "did you mean hello?", "gti": "did you mean git?", "python312-requests": "did you mean python3.12-requests?",
		"team/wbe": "did you mean team/web?", "git/helo": "did you mean git/hello?", "git/hello-2.12.1": "did you mean git/hello?", "shell/helo": "there is no package",
		"git/nosuch": "there is no package nosuch", "nosuch/git/hello": "there is no package nosuch",
		"shell": "shell needs bash and coreutils, and there is no package coreutils", "shell/git": "shell needs bash and coreutils, and there is no package coreutils",
		"docker.io/library/nginx":            "nixreg serves images of docker.io with --mirror docker.io only",
		"registry-1.docker.io/library/nginx": "with --mirror docker.io only", "quay.io/a/b": "with --mirror quay.io only",
		"nosuch": "", "x": "", "python3packages.absent/git": "there is no package python3packages.absent",
	} {
		_, err := src.Inspect(ctx, name, "latest")
		if strings.HasPrefix(want, "there is no package") && strings.HasPrefix(name, "shell") {
			want = "shell needs"
		}
		prefix := "no image or package called " + name
		if want != "" {
			prefix += ": "
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), prefix) || !strings.HasSuffix(err.Error(), want) && !strings.Contains(err.Error(), want) ||
			want == "" && err.Error() != prefix {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var public interface{ Public() string }
		if !errors.As(err, &public) || public.Public() != err.Error() {
			t.Errorf("%s: clients do not get the reason", name)
		}
	}
	if _, err := src.Tags(ctx, "helo"); err == nil || !strings.Contains(err.Error(), "did you mean hello?") {
		t.Error(err)
	}
}

// TestUnknownTags: the error about a tag names those that there are.
func TestUnknownTags(t *testing.T) {
	m, _, _ := withHello()
	for _, version := range []string{"2.10", "2.9", "2.8", "2.7", "2.6"} {
		m.Add("hello-"+version, storetest.Files{"bin/hello": storetest.Exec("")})
	}
	m.Add("git-2.44.0", storetest.Files{"bin/git": storetest.Exec("")})
	src := newSource(t, "", m)
	for name, want := range map[string]string{
		"hello:1": "hello has no tag 1: it has latest, 2.12.1, 2.10, 2.9, 2.8 …", "git:1": "git has no tag 1: it has latest, 2.44.0",
		"git/hello:1": "git/hello has no tag 1: it has latest", "git:sha256-0.sig": "git has no tag sha256-0.sig",
	} {
		repository, tag, _ := strings.Cut(name, ":")
		if _, err := src.Inspect(ctx, repository, tag); err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnknownContents: check has the word that would work for contents, too.
func TestUnknownContents(t *testing.T) {
	m, _, _ := withHello()
	file := filepath.Join(t.TempDir(), "a.yaml")
	for content, want := range map[string]string{"pkgs.hello": "did you mean hello?", "hello-2.12.1": "did you mean hello:2.12.1?", "helo": "did you mean hello?"} {
		write(t, file, "{name: x, contents: "+content+"}")
		if err := manifest.Check(ctx, manifest.Config{Stores: []store.Store{m}}, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}
