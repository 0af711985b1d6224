package manifest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store/storetest"
)

// offers are the lines of a list.
func offers(t *testing.T, src *manifest.Source, pattern string) string {
	t.Helper()
	var lines []string
	for o, err := range src.Catalog().Offers(ctx, pattern) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(o.Name, " ", strings.Join(o.Tags, ","), " ", strings.Join(o.Architectures, ",")))
	}
	return strings.Join(lines, "\n")
}

func TestOffers(t *testing.T) {
	m, _, _ := withHello()
	m.Add("hello-2.9", storetest.Files{"bin/hello": elf(machineARM64)})
	m.Add("git-2.44.0", storetest.Files{"bin/git": elf(machineARM64)})
	m.Add("git-2.44.0", storetest.Files{"bin/git": elf(machineAMD64)})
	m.Add("note", storetest.Files{"": storetest.File("a file is no image")})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "[{name: team/web, tag: v1, contents: hello, architecture: arm64}, {name: git, contents: hello}]")
	src := newSource(t, dir, m)
	const hello, web, git = "hello latest,2.12.1,2.9 amd64", "team/web latest,v1 arm64", "git latest "
	for pattern, want := range map[string]string{
		"": git + "\n" + hello + "\n" + web, "hel": hello, "HEL": hello, "h*": hello, "h?llo": hello, "[a-h]*o": hello, "*e*": hello + "\n" + web,
		"team/*": web, "*web": web, "team": web, "lib": "lib latest,1.0 ", "note": "", "ello*": "", "nosuch": "",
	} {
		if got := offers(t, src, pattern); got != want {
			t.Errorf("%q:\n%s\nnot\n%s", pattern, got, want)
		}
	}
	for _, bad := range []string{"[", "a[", "a\x00"} {
		for _, err := range src.Catalog().Offers(ctx, bad) {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
}

// TestExample: hello where there is one, else the first name of the list.
func TestExample(t *testing.T) {
	example := func(images string, files ...string) string {
		m := storetest.New()
		for _, f := range files {
			m.Add(f+"-1", storetest.Files{"bin/" + f: elf(machineAMD64)})
		}
		m.Add("aaa-1", storetest.Files{"lib/a": storetest.File("")})
		name, err := newSource(t, images, m).Catalog().Example(ctx)
		if err != nil {
			t.Error(err)
		}
		return name
	}
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "name: web")
	for got, want := range map[string]string{
		example("", "git", "hello", "bash"): "hello", example("", "git", "bash"): "bash", example(""): "", example(file): "web", example(file, "zsh"): "web",
		example(file, "git"): "git",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// TestOffersOfChannel: a channel's names are listed, and nothing is fetched for it.
func TestOffersOfChannel(t *testing.T) {
	m := storetest.New()
	c := &fakeChannel{name: "unstable"}
	for i := range 2000 {
		c.add(storetest.NewFixture(fmt.Sprintf("p%04d-1.0", i), storetest.Files{"a": storetest.File("")}).Path)
	}
	src := channelSource(t, manifest.Config{Stores: stores(m), Channels: channels(c)})
	if all := offers(t, src, ""); strings.Count(all, "\n") != 1999 || !strings.HasPrefix(all, "p0000 latest,1.0,unstable \np0001 ") {
		t.Errorf("%.200s", all)
	}
	if some := offers(t, src, "p19?9"); strings.Count(some, "\n") != 9 {
		t.Error(some)
	}
	if name, err := src.Catalog().Example(ctx); name != "p0000" || err != nil {
		t.Error(name, err)
	}
}
