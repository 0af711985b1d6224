package draft

import (
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/finished"
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
	type kinds struct {
		*Definition
		*Package
		*File
		*Conf
		*Archive
	}
	whole := func() kinds {
		contents := []store.Path{pathOf('1', "a"), pathOf('2', "b")}
		return kinds{
			&Definition{Title: "t", Version: "v"},
			&Package{Contents: slices.Clone(contents), Program: "p", Root: []imagefile.RootPart{imagefile.Tmp}},
			&File{Contents: slices.Clone(contents), Args: dockertools.DefaultArgs([]byte("{}")), Root: []imagefile.RootPart{imagefile.Tmp}},
			&Conf{Source: []byte("s")},
			&Archive{elsewhere{finished.Image{Path: contents[0], File: "f"}}},
		}
	}
	keys := func(k kinds) (all []string) {
		for _, kind := range []Kind{k.Package, k.File, k.Conf, k.Archive} {
			k.Kind = kind
			all = append(all, k.Key())
		}
		return all
	}
	want := keys(whole())
	if again := keys(whole()); !slices.Equal(again, want) {
		t.Errorf("equal definitions have the keys %s and %s", want, again)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(want)))) != len(want) {
		t.Errorf("two kinds have one key: %s", want)
	}
	for name, change := range map[string]func(d kinds){
		"title":              func(d kinds) { d.Title = "u" },
		"version":            func(d kinds) { d.Version = "u" },
		"program":            func(d kinds) { d.Program = "u" },
		"title, version":     func(d kinds) { d.Title, d.Version = d.Version, d.Title },
		"contents":           func(d kinds) { d.Package.Contents = d.Package.Contents[:1] },
		"their order":        func(d kinds) { c := d.Package.Contents; c[0], c[1] = c[1], c[0] },
		"root":               func(d kinds) { d.Package.Root = nil },
		"contents of a file": func(d kinds) { d.File.Contents = d.File.Contents[:1] },
		"root of a file":     func(d kinds) { d.File.Root = nil },
		"source":             func(d kinds) { d.Source = []byte("u") },
		"path":               func(d kinds) { d.Archive.Path = pathOf('3', "c") },
		"member":             func(d kinds) { d.Archive.File = "g" },
		"config":             func(d kinds) { d.Args.Config = []byte(`{"a":1}`) },
		"base":               func(d kinds) { d.Args.Base = "docker://x" },
		"architecture":       func(d kinds) { d.Args.Architecture = "arm" },
		"variant":            func(d kinds) { d.Args.Variant = "v7" },
		"created":            func(d kinds) { d.Args.Created = "1980-01-01T00:00:00+00:00" },
		"mtime":              func(d kinds) { d.Args.MTime = 2 },
		"owner":              func(d kinds) { d.Args.Owner.GID = 2 },
		"layers":             func(d kinds) { d.Args.MaxLayers = 2 },
		"layering":           func(d kinds) { d.Args.Layering = imagefile.Popularity },
		"store paths":        func(d kinds) { d.Args.ExcludeStorePaths = true },
		"database":           func(d kinds) { d.Args.IncludeNixDB = true },
		"warnings":           func(d kinds) { d.Args.Warnings = []string{"w"} },
	} {
		d := whole()
		if change(d); slices.Equal(keys(d), want) {
			t.Errorf("%s changes no key", name)
		}
	}
	d := whole()
	if d.At = (imagefile.Position{File: "f", Line: 1, Column: 1}); !slices.Equal(keys(d), want) {
		t.Error("the place in a file changes the key")
	}
}

// TestOldDefinitionKeys: what definitions can say in addition changes no key under which images are remembered.
func TestOldDefinitionKeys(t *testing.T) {
	contents := []store.Path{pathOf('1', "a")}
	args := dockertools.DefaultArgs([]byte("{}"))
	whole := identity{Title: "t", Version: "v", Program: "p", Contents: contents, Source: []byte("s")}
	if got, want := keyOf(whole), "1578b7dfb0a8d1b99486094ff93ce6c27b70ca6169d53520b74a072e7998761f"; got != want {
		t.Errorf("key is %s, not %s", got, want)
	}
	for want, kind := range map[string]Kind{
		"5843ff543f496413d0788612a4ee3130ecd65565d4b35dc0da6fb4c3f6c47781": &Package{Contents: contents, Program: "p"},
		"0329c35455456437773e3d20d2edaf277d264fdfdd094f7fb1a83e96130e8373": &Package{Contents: contents, Program: "p", Root: []imagefile.RootPart{imagefile.Tmp}},
		"ec96b61e1d7ef09d6b9573637d4565d34b803d7e538795c0dd6b3a88deee581a": &File{Contents: contents, Args: args},
		"b81227b2b44e804798a33cbc49c7a987df1fee34746d6ed8f316442305e93bc9": &Conf{Source: []byte("s")},
		"1fdbe8eb098b9622a6e405a873d692cb0b8f3d08090a7ddd5e53e00b9ab8589a": Finished(finished.Image{Path: contents[0], File: "f", Image: &finished.ArchiveImage{Config: "c"}}),
		"9522669e15925d8776de2482c83102c85c4ada6413cd6cefb94499996644b653": Finished(finished.Image{Path: contents[0], Root: &v1.Descriptor{Size: 1}, Index: true}),
	} {
		if got := (&Definition{Title: "t", Version: "v", Kind: kind}).Key(); got != want {
			t.Errorf("key of %T is %s, not %s", kind, got, want)
		}
	}
}

// TestImageKey: whatever is changed in the definition, or in what the store says of a path, the image has another key.
func TestImageKey(t *testing.T) {
	whole := func() (*Definition, layer.Encoding, []*store.Object) {
		a := &store.Object{Entry: store.Entry{Path: pathOf('1', "a")}, NarSize: 10, References: []store.Path{pathOf('2', "b")}}
		b := &store.Object{Entry: store.Entry{Path: pathOf('2', "b")}, NarSize: 20}
		return &Definition{Title: "t", Kind: &Package{Contents: []store.Path{a.Path}}}, layer.Tar, []*store.Object{a, b}
	}
	key := func(d *Definition, encoding layer.Encoding, objects []*store.Object) string {
		return d.ImageKey(encoding, objects)
	}
	want := key(whole())
	if again := key(whole()); again != want {
		t.Errorf("equal images have the keys %s and %s", want, again)
	}
	for name, change := range map[string]func(d *Definition, o []*store.Object) []*store.Object{
		"definition": func(d *Definition, o []*store.Object) []*store.Object { d.Title = "u"; return o },
		"path":       func(_ *Definition, o []*store.Object) []*store.Object { o[1].Path = pathOf('3', "b"); return o },
		"nar hash":   func(_ *Definition, o []*store.Object) []*store.Object { o[1].NarHash[31] = 1; return o },
		"nar size":   func(_ *Definition, o []*store.Object) []*store.Object { o[1].NarSize++; return o },
		"references": func(_ *Definition, o []*store.Object) []*store.Object { o[0].References = nil; return o },
		"objects":    func(_ *Definition, o []*store.Object) []*store.Object { return o[:1] },
	} {
		d, encoding, objects := whole()
		if objects = change(d, objects); d.ImageKey(encoding, objects) == want {
			t.Errorf("%s changes no key", name)
		}
	}
	if d, _, objects := whole(); d.ImageKey(layer.Gzip, objects) == want {
		t.Error("the encoding changes no key")
	}
	for name, change := range map[string]func(e *store.Entry){
		"deriver":      func(e *store.Entry) { e.Deriver = pathOf('4', "a.drv") },
		"registration": func(e *store.Entry) { e.Registered = 1 },
	} {
		d, encoding, objects := whole()
		if change(&objects[0].Entry); d.ImageKey(encoding, objects) != want {
			t.Errorf("%s, which differs between stores, changes the key", name)
		}
	}
}
