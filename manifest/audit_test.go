package manifest_test

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestBaseFaultsAreTold before the image is asked for, as far as the base image is there and need not be unpacked: to everybody
// where and of what kind, in the log all of it.
func TestBaseFaultsAreTold(t *testing.T) {
	m, _, _ := withHello()
	gone := storetest.NewFixture("gone-1", storetest.Files{"x": storetest.File("")}).Path
	const absent = "fromImage: absent.tar: "
	const layers, wrong = "fromImage: too many layers", "fromImage: something in it is wrong"
	public := map[string]string{absent: "fromImage: no such file or directory", "fromImage: archive ": wrong}
	for want, args := range map[string]string{
		"": "fromImage: 123.tar, maxLayers: 200, contents: hello",
		"fromImage: it has 125 layers, with them the image has at least 126: runtimes take no more than 125":    "fromImage: 125.tar",
		"fromImage: it has 123 layers, with them the image has at least 126: ":                                  "fromImage: 123.tar, maxLayers: 200, contents: hello, includeNixDB: true",
		"fromImage: it has 124 layers, with them the image has at least 126: ":                                  "fromImage: 124.tar, root: [tmp]",
		"fromImage: maxLayers is 21, and of these the base image takes 20, root and includeNixDB 0, the links ": "fromImage: 20.tar, maxLayers: 21, contents: hello",
		absent:                "fromImage: absent.tar",
		"fromImage: archive ": "fromImage: damaged.tar",
		"config mentions " + gone.Abs() + ", which is not valid in the store": "config: {Cmd: [" + gone.Abs() + "/bin/x]}",
	} {
		dir := t.TempDir()
		for _, n := range []int{20, 123, 124, 125} {
			write(t, filepath.Join(dir, "bases", fmt.Sprint(n, ".tar")), many(n).archive(t))
		}
		write(t, filepath.Join(dir, "bases", "damaged.tar"), many(1).archive(t)[:4000])
		write(t, filepath.Join(dir, "images", "a.yaml"), "{name: x, "+strings.Replace(args, "fromImage: ", "fromImage: ../bases/", 1)+"}")
		src, log := openLogged(t, m, filepath.Join(dir, "images"))
		faults := src.Catalog().Faults(ctx)
		var all []string
		if want != "" {
			words := cmp.Or(public[want], layers)
			if strings.HasPrefix(want, "config") {
				words = "config mentions a store path that is not valid"
			}
			all = []string{"a.yaml:1:1: " + words}
		}
		if !slices.Equal(faults, all) {
			t.Errorf("%s: faults are %q, want %q", args, faults, all)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s: the log lacks %q: %s", args, want, log)
		}
	}
}

// TestFaultsHideDirectories also where a file cannot be read.
func TestFaultsHideDirectories(t *testing.T) {
	m, _, _ := withHello()
	src, dir, log := edited(t, m, map[string]string{"a.yaml": "name: x", "b.yaml": "name: y"})
	os.Remove(filepath.Join(dir, "a.yaml"))
	link(t, storetest.NewFixture("gone-1", nil).Path.Abs(), filepath.Join(dir, "a.yaml"))
	replace(t, filepath.Join(dir, "b.yaml"), "name: 7")
	src.Catalog().Reload(ctx)
	faults := src.Catalog().Faults(ctx)
	if len(faults) != 2 || !strings.HasPrefix(faults[0], "a.yaml: ") || !strings.HasPrefix(faults[1], "b.yaml:1:7: ") || strings.Contains(fmt.Sprint(faults), dir) {
		t.Errorf("faults are %q", faults)
	}
	if !strings.Contains(log.String(), filepath.Join(dir, "b.yaml")+":1:7: ") {
		t.Errorf("log is %s", log)
	}
}

// TestBaseArchitecture: upon a base image for another architecture nothing runs: an error, if the definition gives the
// architecture, else a warning.
func TestBaseArchitecture(t *testing.T) {
	m, _, _ := withHello() // for amd64
	dir := t.TempDir()
	base := newFinished(t, unpacked)
	base.describe(t, "arm64")
	write(t, filepath.Join(dir, "base.tar"), string(base.dockerSave(t)))
	file := filepath.Join(dir, "web.yaml")
	for args, want := range map[string]string{
		"architecture: amd64": "architecture is amd64, but the base image is for arm64",
		"architecture: arm64": "", "contents: [], tag: v1": "",
	} {
		write(t, file, "{name: x, fromImage: base.tar, "+args+"}")
		_, err := withImages(t, m, file).Inspect(ctx, "x", "latest")
		checked := manifest.Check(ctx, manifest.Config{Stores: []store.Store{m}}, file)
		for _, err := range []error{err, checked} {
			if (err == nil) != (want == "") || err != nil && (!errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v", args, err)
			}
		}
	}
	arm64 := addHello(m, "9", machineARM64)
	alone := "{name: x, fromImage: base.tar, contents: 'hello:2.12.1'}"
	for _, text := range []string{alone, "[" + alone + ", {name: x, architecture: arm64, fromImage: base.tar, contents: " + arm64.Abs() + "}]"} {
		write(t, file, text)
		reports, err := withImages(t, m, file).Inspect(ctx, "x", "latest")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			warned := slices.Contains(r.Warnings, "the programs are for amd64, but the base image is for arm64")
			if warned != (r.Architecture == "amd64") {
				t.Errorf("%s: %s has the warnings %q", text, r.Architecture, r.Warnings)
			}
		}
	}
}
