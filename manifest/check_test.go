package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func check(s store.Store, files ...string) error {
	return manifest.Check(ctx, manifest.Config{Stores: []store.Store{s}}, files...)
}

// TestCheckFindsNothing in files that are right, of whatever kind.
func TestCheckFindsNothing(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "[{name: x, contents: hello, root: [tmp]}, {name: x, tag: v1}, {name: y, config: {User: app}}]")
	write(t, filepath.Join(dir, "team", "conf.json"), confText(t, m, nil))
	write(t, filepath.Join(dir, "none.yaml"), "[]")
	for _, files := range [][]string{nil, {dir}, {filepath.Join(dir, "a.yaml"), filepath.Join(dir, "none.yaml"), filepath.Join(dir, "team")}} {
		if err := check(m, files...); err != nil {
			t.Errorf("%v: %v", files, err)
		}
	}
}

// TestCheckFindsAll: each problem of each file is a line with its place.
func TestCheckFindsAll(t *testing.T) {
	m, lib, _ := withHello()
	gone := storetest.NewFixture("gone-1", storetest.Files{"x": storetest.File("")}).Path
	plain := m.Add("plain-file", storetest.Files{"": storetest.File("")})
	dir := t.TempDir()
	a, b, c, d := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml"), filepath.Join(dir, "d.json")
	write(t, a, fmt.Sprintf(`
- name: x
  contents: [%s, hello, nosuch]
- name: y
  contents: [hello:7]
- name: z
  config: {Cmd: [%[1]s/bin/x]}
- {name: w, contents: %s}
- {name: v, contents: %s, maxLayers: 2, root: [tmp]}
- {name: u, contents: hello, architecture: amd64}
- {name: u, contents: hello}
- {name: r, root: [binSh]}
`, gone.Abs(), plain.Abs(), lib.Abs()))
	write(t, b, "name: x\ntga: y\nuid: z\n")
	write(t, c, "{name: x, contents: nosuch}\n---\n{name: last, contents: nosuch}")
	write(t, d, confText(t, m, map[string]any{"store_layers": [][]string{{gone.Abs()}}}))
	err := check(m, dir, filepath.Join(dir, "absent"))
	want := []string{
		a + ":3:14: " + gone.Abs() + " is not valid", a + ":3:73: no image or package called nosuch", a + ":5:14: hello has no tag 7",
		a + ":6:3: config mentions " + gone.Abs(), a + ":8:3: links to " + string(plain), a + ":9:3: maxLayers is 2",
		a + ":11:3: its programs are for amd64, as those of the image of the same name and tag on line 10", a + ":12:3: root: binSh: ",
		b + ":2:1: ", b + ":3:6: ", c + ":1:1: image x is hidden by that of " + a, c + ":3:24: no image or package called nosuch",
		d + ": ", filepath.Join(dir, "absent") + ": ",
	}
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		t.Errorf("problems are\n%v\nnot\n%s", err, strings.Join(want, "\n"))
	}
	for _, kind := range []error{fs.ErrInvalid, fs.ErrNotExist, errors.ErrUnsupported} {
		if !errors.Is(err, kind) {
			t.Errorf("it does not match %v", kind)
		}
	}
}

// TestCheckCancelled does not pass for a good file.
func TestCheckCancelled(t *testing.T) {
	m, _, _ := withHello()
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "{name: x, contents: hello}")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := manifest.Check(cancelled, manifest.Config{Stores: []store.Store{m}}, file); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
