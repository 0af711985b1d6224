package manifest

import (
	"testing"

	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// pathOf is a path whose hash part is one digit, again and again.
func pathOf(digit byte, name string) store.Path {
	hash := make([]byte, store.HashLen)
	for i := range hash {
		hash[i] = digit
	}
	return store.Path(string(hash) + "-" + name)
}

// TestDefinitionKey: whatever is changed in a definition, it has another key.
func TestDefinitionKey(t *testing.T) {
	whole := func() *catalog.Definition {
		return &catalog.Definition{
			Title: "t", Version: "v", Program: "p", Contents: []store.Path{pathOf('1', "a"), pathOf('2', "b")}, Source: []byte("s"),
			Root: []imagefile.RootPart{imagefile.Tmp}, Args: dockertools.DefaultArgs([]byte("{}")),
		}
	}
	want := whole().Key()
	if again := whole().Key(); again != want {
		t.Errorf("equal definitions have the keys %s and %s", want, again)
	}
	for name, change := range map[string]func(d *catalog.Definition){
		"title":          func(d *catalog.Definition) { d.Title = "u" },
		"version":        func(d *catalog.Definition) { d.Version = "u" },
		"program":        func(d *catalog.Definition) { d.Program = "u" },
		"title, version": func(d *catalog.Definition) { d.Title, d.Version = d.Version, d.Title },
		"contents":       func(d *catalog.Definition) { d.Contents = d.Contents[:1] },
		"their order":    func(d *catalog.Definition) { d.Contents[0], d.Contents[1] = d.Contents[1], d.Contents[0] },
		"source":         func(d *catalog.Definition) { d.Source = []byte("u") },
		"root":           func(d *catalog.Definition) { d.Root = nil },
		"no arguments":   func(d *catalog.Definition) { d.Args = nil },
		"config":         func(d *catalog.Definition) { d.Args.Config = []byte(`{"a":1}`) },
		"base":           func(d *catalog.Definition) { d.Args.Base = "docker://x" },
		"architecture":   func(d *catalog.Definition) { d.Args.Architecture = "arm" },
		"variant":        func(d *catalog.Definition) { d.Args.Variant = "v7" },
		"created":        func(d *catalog.Definition) { d.Args.Created = "1980-01-01T00:00:00+00:00" },
		"mtime":          func(d *catalog.Definition) { d.Args.MTime = 2 },
		"owner":          func(d *catalog.Definition) { d.Args.Owner.GID = 2 },
		"layers":         func(d *catalog.Definition) { d.Args.MaxLayers = 2 },
		"layering":       func(d *catalog.Definition) { d.Args.Layering = imagefile.Popularity },
		"store paths":    func(d *catalog.Definition) { d.Args.ExcludeStorePaths = true },
		"database":       func(d *catalog.Definition) { d.Args.IncludeNixDB = true },
		"warnings":       func(d *catalog.Definition) { d.Args.Warnings = []string{"w"} },
	} {
		d := whole()
		if change(d); d.Key() == want {
			t.Errorf("%s changes no key", name)
		}
	}
	d := whole()
	if d.At = (imagefile.Position{File: "f", Line: 1, Column: 1}); d.Key() != want {
		t.Error("the place in a file changes the key")
	}
}

// TestOldDefinitionKeys: what definitions can say in addition changes no key under which images are remembered.
func TestOldDefinitionKeys(t *testing.T) {
	d := &catalog.Definition{Title: "t", Version: "v", Program: "p", Contents: []store.Path{pathOf('1', "a")}, Source: []byte("s")}
	if got, want := d.Key(), "1578b7dfb0a8d1b99486094ff93ce6c27b70ca6169d53520b74a072e7998761f"; got != want {
		t.Errorf("key is %s, not %s", got, want)
	}
}

// TestImageKey: whatever is changed in the definition, or in what the store says of a path, the image has another key.
func TestImageKey(t *testing.T) {
	whole := func() (*catalog.Definition, layer.Encoding, []*store.Object) {
		a := &store.Object{Entry: store.Entry{Path: pathOf('1', "a")}, NarSize: 10, References: []store.Path{pathOf('2', "b")}}
		b := &store.Object{Entry: store.Entry{Path: pathOf('2', "b")}, NarSize: 20}
		return &catalog.Definition{Title: "t", Contents: []store.Path{a.Path}}, layer.Tar, []*store.Object{a, b}
	}
	want := imageKey(whole())
	if again := imageKey(whole()); again != want {
		t.Errorf("equal images have the keys %s and %s", want, again)
	}
	for name, change := range map[string]func(d *catalog.Definition, o []*store.Object) []*store.Object{
		"definition": func(d *catalog.Definition, o []*store.Object) []*store.Object { d.Title = "u"; return o },
		"path":       func(_ *catalog.Definition, o []*store.Object) []*store.Object { o[1].Path = pathOf('3', "b"); return o },
		"nar hash":   func(_ *catalog.Definition, o []*store.Object) []*store.Object { o[1].NarHash[31] = 1; return o },
		"nar size":   func(_ *catalog.Definition, o []*store.Object) []*store.Object { o[1].NarSize++; return o },
		"references": func(_ *catalog.Definition, o []*store.Object) []*store.Object { o[0].References = nil; return o },
		"objects":    func(_ *catalog.Definition, o []*store.Object) []*store.Object { return o[:1] },
	} {
		d, encoding, objects := whole()
		if objects = change(d, objects); imageKey(d, encoding, objects) == want {
			t.Errorf("%s changes no key", name)
		}
	}
	if d, _, objects := whole(); imageKey(d, layer.Gzip, objects) == want {
		t.Error("the encoding changes no key")
	}
	for name, change := range map[string]func(e *store.Entry){
		"deriver":      func(e *store.Entry) { e.Deriver = pathOf('4', "a.drv") },
		"registration": func(e *store.Entry) { e.Registered = 1 },
	} {
		d, encoding, objects := whole()
		if change(&objects[0].Entry); imageKey(d, encoding, objects) != want {
			t.Errorf("%s, which differs between stores, changes the key", name)
		}
	}
}
