package manifest_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"nixreg/manifest"
	"nixreg/store"
	"nixreg/store/storetest"
)

// architectures are those of a tag's images, in their order.
func architectures(t *testing.T, src *manifest.Source, repository, tag string) string {
	t.Helper()
	reports, err := src.Inspect(ctx, repository, tag)
	if err != nil {
		t.Errorf("%s:%s: %v", repository, tag, err)
	}
	var out []string
	for _, r := range reports {
		out = append(out, r.Architecture)
	}
	return strings.Join(out, " ")
}

// TestOutputIsNeverLatest beside an out, however high its version.
func TestOutputIsNeverLatest(t *testing.T) {
	m := storetest.New()
	out := m.Add("x-1", storetest.Files{"a": storetest.File("")})
	man := m.Add("x-2-man", storetest.Files{"share/man": storetest.Dir()})
	src := newSource(t, "", m)
	for tag, want := range map[string]store.Path{"latest": out, "1": out, "2-man": man} {
		if got := madeOf(inspect(t, src, "x", tag)); got != want.Abs() {
			t.Errorf("x:%s is %s, not %s", tag, got, want)
		}
	}
}

// TestListOrder: among equals of a store that knows no times, the one listed first is taken, whatever its hash.
func TestListOrder(t *testing.T) {
	a := storetest.NewFixture("x-1", storetest.Files{"a": storetest.File("")})
	b := storetest.NewFixture("x-1", storetest.Files{"b": storetest.File("")})
	for _, order := range [][]storetest.Fixture{{a, b}, {b, a}} {
		m := storetest.New()
		m.Put(order[0])
		m.Put(order[1])
		if got := madeOf(inspect(t, newSource(t, "", m), "x", "1")); got != order[0].Path.Abs() {
			t.Errorf("x:1 is %s, not %s, which is listed first", got, order[0].Path)
		}
	}
}

// TestLongestTag: a version that is too long for a tag has only its hash.
func TestLongestTag(t *testing.T) {
	for n, want := range map[int]int{128: 3, 129: 2} {
		m := storetest.New()
		version := strings.Repeat("1", n)
		p := m.Add("x-"+version, storetest.Files{"a": storetest.File("")})
		src := newSource(t, "", m)
		tags, err := src.Tags(ctx, "x")
		if err != nil || len(tags) != want || !slices.Contains(tags, p.Hash()) || !slices.Contains(tags, "latest") {
			t.Errorf("%d characters: tags are %v, %v", n, tags, err)
		}
		if _, err := src.Inspect(ctx, "x", version); (err == nil) != (want == 3) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d characters: %v", n, err)
		}
	}
}

// TestReservedNames are not listed, and not served, though there are packages of that name.
func TestReservedNames(t *testing.T) {
	m, _, _ := withHello()
	for _, name := range []string{"store", "shell", "arm64", "386"} {
		m.Add(name+"-1", storetest.Files{"bin/" + name: elf(machineAMD64)})
	}
	src := newSource(t, "", m)
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"hello"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	for _, name := range []string{"store", "shell", "arm64", "386", "shell/hello"} {
		if _, err := src.Tags(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("tags of %s: %v", name, err)
		}
	}
}

// TestPreferredPlatform: a client that knows no lists gets amd64, though 386 sorts before it.
func TestPreferredPlatform(t *testing.T) {
	m := storetest.New()
	const machine386 = 3
	addHello(m, "1", machine386)
	amd := addHello(m, "1", machineAMD64)
	src := newSource(t, "", m)
	if got := architectures(t, src, "hello", "1"); got != "386 amd64" {
		t.Fatal(got)
	}
	for _, mt := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		got, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "1", Accept: only(mt)})
		if err != nil {
			t.Fatal(err)
		}
		want, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: amd.Hash(), Accept: only(mt)})
		if err != nil || got.Digest != want.Digest {
			t.Errorf("%s: %s, not that of %s, %v", mt, got.Digest, amd, err)
		}
	}
}
