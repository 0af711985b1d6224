package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

var ctx = context.Background()

// elf is the start of a program for a machine.
func elf(machine byte) storetest.Item {
	return storetest.Exec("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + string([]byte{machine}) + "\x00" + strings.Repeat("\x00", 44))
}

const (
	machineAMD64 = 62
	machineARM64 = 183
)

func only(want types.MediaType) func(...types.MediaType) (types.MediaType, bool) {
	return func(offers ...types.MediaType) (types.MediaType, bool) {
		return want, slices.Contains(offers, want)
	}
}

func get(t *testing.T, src *manifest.Source, repository, tag string) *v1.Descriptor {
	t.Helper()
	d, err := src.Manifest(ctx, manifest.Request{Repository: repository, Tag: tag, Accept: first})
	if err != nil {
		t.Fatalf("%s:%s: %v", repository, tag, err)
	}
	return d
}

func inspect(t *testing.T, src *manifest.Source, repository, tag string) *manifest.Report {
	t.Helper()
	r, err := src.Inspect(ctx, repository, tag)
	if err != nil || len(r) != 1 {
		t.Fatalf("%s:%s: %d images, %v", repository, tag, len(r), err)
	}
	return r[0]
}

// withHello is a store with a program and a library it needs.
func withHello() (m *storetest.Memory, lib, hello store.Path) {
	m = storetest.New()
	lib = m.Add("lib-1.0", storetest.Files{"lib/x.so": storetest.File("library")})
	hello = m.Add("hello-2.12.1", storetest.Files{
		"bin/hello":    elf(machineAMD64),
		"share/README": storetest.File("see " + lib.Abs()),
	}, lib)
	return m, lib, hello
}

func TestPackageImage(t *testing.T) {
	m, lib, hello := withHello()
	src := newSource(t, "", m)
	r := inspect(t, src, "hello", "latest")
	if !slices.Equal(r.Command, []string{hello.Abs() + "/bin/hello"}) || !slices.Equal(r.Env, []string{"PATH=/bin"}) {
		t.Errorf("command %q, env %q", r.Command, r.Env)
	}
	if r.Architecture != "amd64" || r.OS != "linux" || r.Title != "hello" || r.Version != "2.12.1" {
		t.Errorf("%+v", r)
	}
	var contents [][]string
	for _, l := range r.Layers {
		contents = append(contents, l.Contents)
	}
	want := [][]string{{lib.Abs()}, {hello.Abs()}, {hello.Abs()}} // the last one links to it
	if fmt.Sprint(contents) != fmt.Sprint(want) {
		t.Errorf("layers are %v, not %v", contents, want)
	}
	manifest, config := pull(t, src, "hello", "2.12.1")
	if got := manifest.Annotations["org.opencontainers.image.version"]; got != "2.12.1" {
		t.Errorf("annotation version %q", got)
	}
	if !bytes.Contains(config, []byte(`"Env": [`)) || !bytes.Contains(config, []byte(`"created": "1970-01-01T00:00:01+00:00"`)) {
		t.Errorf("config is %s", config)
	}
}

func TestNamesAndTags(t *testing.T) {
	m, _, hello := withHello()
	old := m.Add("hello-2.9", storetest.Files{"bin/hello": elf(machineAMD64)})
	file := m.Add("hello-3", storetest.Files{"": storetest.File("not a directory")})
	m.Add("hello-4.drv", storetest.Files{"x": storetest.File("")})
	dev := m.Add("hello-2.12.1-dev", storetest.Files{"include/h": storetest.File("")})
	source := m.Add("hello-5", storetest.Files{"x": storetest.File("a source")})
	m.Edit(source, func(o *store.Object) { o.CA = "fixed:r:sha256:x" })
	m.Add("C++_Thing-1.0+b", storetest.Files{"bin/x": elf(machineAMD64)})
	src := newSource(t, "", m)

	for ref, want := range map[string]store.Path{
		"latest": hello, "2.12.1": hello, "2.9": old, "2.12.1-dev": dev, old.Hash(): old, hello.Hash(): hello,
	} {
		r := inspect(t, src, "hello", ref)
		if last := r.Layers[len(r.Layers)-1].Contents; last[0] != want.Abs() {
			t.Errorf("hello:%s is made of %s, not %s", ref, last, want)
		}
	}
	for _, ref := range []string{"3", "4", "5", "1.0", file.Hash(), source.Hash(), strings.Repeat("0", 32)} {
		if _, err := src.Inspect(ctx, "hello", ref); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("hello:%s: %v", ref, err)
		}
	}
	want := []string{"2.12.1", "2.12.1-dev", "2.9", "latest", dev.Hash(), old.Hash(), hello.Hash()}
	slices.Sort(want)
	if tags, err := src.Tags(ctx, "hello"); err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	if r := inspect(t, src, "c_thing", "1.0_b"); r.Title != "C++_Thing" || r.Version != "1.0+b" {
		t.Errorf("%s %s", r.Title, r.Version)
	}
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"c_thing", "hello"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	if r := inspect(t, src, "store/"+source.Hash(), "latest"); r.Title != "hello" {
		t.Errorf("a source by its hash is %+v", r)
	}
	for _, name := range []string{"store", "store/" + strings.Repeat("0", 32), "store/x", "shell/hello", "arm64/hello", "hello/absent", "hel", strings.Repeat("hello/", 32) + "hello"} {
		if _, err := src.Inspect(ctx, name, "latest"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := src.Inspect(ctx, "store/"+file.Hash(), "latest"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a plain file: %v", err)
	}
}

// TestLatestOfOutputsAlone: with no out in the store, another output may be latest.
func TestLatestOfOutputsAlone(t *testing.T) {
	m := storetest.New()
	m.Add("x-1-man", storetest.Files{"share/man": storetest.Dir()})
	p := m.Add("x-2-man", storetest.Files{"share/man": storetest.Dir(), "a": storetest.File("")})
	r := inspect(t, newSource(t, "", m), "x", "latest")
	if r.Layers[len(r.Layers)-1].Contents[0] != p.Abs() || r.Command != nil || r.CommandNote == "" {
		t.Errorf("%+v", r)
	}
}

func TestNewestOfOneVersion(t *testing.T) {
	m := storetest.New()
	a := m.Add("x-1", storetest.Files{"a": storetest.File("a")})
	b := m.Add("x-1", storetest.Files{"b": storetest.File("b")})
	at := func(p store.Path, when int64) { m.Edit(p, func(o *store.Object) { o.Registered = when }) }
	latest := func() string {
		r := inspect(t, newSource(t, "", m), "x", "1")
		return r.Layers[len(r.Layers)-1].Contents[0]
	}
	at(a, 100)
	at(b, 200)
	if got := latest(); got != b.Abs() {
		t.Errorf("got %s, not the newer %s", got, b)
	}
	at(a, 300)
	if got := latest(); got != a.Abs() {
		t.Errorf("got %s, not the newer %s", got, a)
	}
	at(b, 300)
	if got := latest(); got != min(a, b).Abs() {
		t.Errorf("got %s, not the lower hash of %s and %s", got, a, b)
	}
}

func TestComposite(t *testing.T) {
	m, _, hello := withHello()
	git := m.Add("git-1", storetest.Files{"bin/git": elf(machineAMD64)})
	src := newSource(t, "", m)
	one, other := get(t, src, "git/hello", "latest"), get(t, src, "hello/git", "latest")
	if one.Digest != other.Digest {
		t.Errorf("git/hello and hello/git differ: %s, %s", one.Digest, other.Digest)
	}
	r := inspect(t, src, "hello/git", "latest")
	if got := r.Layers[len(r.Layers)-1].Contents; !slices.Equal(got, []string{git.Abs(), hello.Abs()}) {
		t.Errorf("contents are %v", got)
	}
	if len(r.Command) != 0 || r.CommandNote == "" {
		t.Errorf("command %q, note %q", r.Command, r.CommandNote)
	}
	if _, err := src.Inspect(ctx, "git/hello", "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another tag than latest: %v", err)
	}
}

func TestSeveralArchitecturesAreAnIndex(t *testing.T) {
	m := storetest.New()
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineARM64)})
	amd := m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)})
	m.Add("hello-0", storetest.Files{"bin/hello": elf(machineAMD64)})
	src := newSource(t, "", m)
	desc := get(t, src, "hello", "1")
	index, err := v1.ParseIndexManifest(bytes.NewReader(desc.Data))
	if err != nil || desc.MediaType != types.OCIImageIndex {
		t.Fatalf("%s, %v", desc.MediaType, err)
	}
	var archs []string
	for _, c := range index.Manifests {
		archs = append(archs, c.Platform.Architecture)
		child, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Digest: c.Digest})
		if err != nil || child.MediaType != c.MediaType || child.Size != c.Size {
			t.Errorf("child %s: %v, %v", c.Digest, child, err)
		}
	}
	if !slices.Equal(archs, []string{"amd64", "arm64"}) {
		t.Errorf("architectures %v", archs)
	}
	// A client that knows no index gets the image for amd64.
	for _, mt := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		d, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: only(mt)})
		if err != nil || d.MediaType != mt {
			t.Fatalf("%v, %v", d, err)
		}
		one, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: amd.Hash(), Accept: only(mt)})
		if err != nil || one.Digest != d.Digest {
			t.Errorf("%s: %v, %v", mt, one, err)
		}
	}
	if d, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "1", Accept: only(types.DockerManifestList)}); err != nil || d.MediaType != types.DockerManifestList {
		t.Errorf("list: %v, %v", d, err)
	}
	if _, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "1", Accept: only("text/html")}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("nothing acceptable: %v", err)
	}
}

// TestCompositeOfArchitectures: what has no programs goes with every architecture, the others only with their own.
func TestCompositeOfArchitectures(t *testing.T) {
	m := storetest.New()
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineARM64)})
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)})
	m.Add("text-1", storetest.Files{"share/text": storetest.File("text")})
	m.Add("tool-1", storetest.Files{"bin/tool": elf(machineARM64)})
	m.Add("other-1", storetest.Files{"bin/other": elf(machineAMD64)})
	src := newSource(t, "", m)
	for repository, want := range map[string]string{
		"hello/text": "amd64 arm64", "text/tool": "arm64", "hello/tool": "arm64", "hello/text/tool": "arm64", "text/text": "amd64",
	} {
		reports, err := src.Inspect(ctx, repository, "latest")
		if err != nil {
			t.Errorf("%s: %v", repository, err)
			continue
		}
		var archs []string
		for _, r := range reports {
			archs = append(archs, r.Architecture)
		}
		if got := strings.Join(archs, " "); got != want {
			t.Errorf("%s is for %s, not %s", repository, got, want)
		}
	}
	if _, err := src.Inspect(ctx, "other/tool", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("other/tool: %v", err)
	}
}

func TestMacProgramIsRefused(t *testing.T) {
	m := storetest.New()
	m.Add("hello-1", storetest.Files{"bin/hello": storetest.Exec("\xcf\xfa\xed\xfe\x0c\x00\x00\x01 and so on, padded")})
	_, err := newSource(t, "", m).Inspect(ctx, "hello", "latest")
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "hello-1") {
		t.Error(err)
	}
}

func TestMainProgram(t *testing.T) {
	m := storetest.New()
	other := m.Add("other-1", storetest.Files{"bin/linked": elf(machineAMD64)})
	for name, c := range map[string]struct {
		files storetest.Files
		want  string
	}{
		"named-1":   {storetest.Files{"bin/named": elf(62), "bin/a": elf(62)}, "bin/named"},
		"single-1":  {storetest.Files{"bin/other": elf(62), "bin/.wrapped": elf(62), "bin/text": storetest.File("")}, "bin/other"},
		"several-1": {storetest.Files{"bin/a": elf(62), "bin/b": elf(62)}, ""},
		"none-1":    {storetest.Files{"lib/x": storetest.File("")}, ""},
		"link-1":    {storetest.Files{"bin/link": storetest.Link(other.Abs() + "/bin/linked")}, "bin/link"},
		"dirlink-1": {storetest.Files{"bin": storetest.Link(other.Abs() + "/bin")}, "bin/linked"},
		"etc-1":     {storetest.Files{"bin/etc": storetest.Link("/bin/sh"), "bin/dead": storetest.Link("nowhere")}, ""},
	} {
		p := m.Add(name, c.files, other)
		r := inspect(t, newSource(t, "", m), strings.TrimSuffix(name, "-1"), "latest")
		if want := []string{p.Abs() + "/" + c.want}; c.want != "" && !slices.Equal(r.Command, want) {
			t.Errorf("%s runs %q, not %q", name, r.Command, want)
		}
		if c.want == "" && (len(r.Command) != 0 || r.CommandNote == "") {
			t.Errorf("%s runs %q (%s), not nothing", name, r.Command, r.CommandNote)
		}
	}
}

// TestDigestsOutliveTheCache asks a new process with an empty cache for digests that an old one gave out.
func TestDigestsOutliveTheCache(t *testing.T) {
	m, _, _ := withHello()
	before := newSource(t, "", m)
	oci := get(t, before, "hello", "latest")
	docker, err := before.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: only(types.DockerManifestSchema2)})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := v1.ParseManifest(bytes.NewReader(oci.Data))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []v1.Hash{oci.Digest, docker.Digest} {
		after := newSource(t, "", m)
		got, err := after.Manifest(ctx, manifest.Request{Repository: "hello", Digest: d})
		if err != nil || got.Digest != d {
			t.Errorf("%s: %v, %v", d, got, err)
		}
	}
	for _, d := range []v1.Hash{parsed.Config.Digest, parsed.Layers[0].Digest, parsed.Layers[2].Digest} {
		digest(t, newSource(t, "", m), "hello", d, nil)
	}
	after := newSource(t, "", m)
	unknown := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}
	for range 2 {
		if _, err := after.Blob(ctx, "hello", unknown); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unknown blob: %v", err)
		}
		if _, err := after.Manifest(ctx, manifest.Request{Repository: "hello", Digest: unknown}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unknown manifest: %v", err)
		}
		if _, err := after.Blob(ctx, "absent", parsed.Config.Digest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("blob of an unknown repository: %v", err)
		}
	}
}

// TestBlobsBelongToRepositories: a digest is served where an image has it, not elsewhere.
func TestBlobsBelongToRepositories(t *testing.T) {
	m, lib, _ := withHello()
	src := newSource(t, "", m)
	r := inspect(t, src, "hello", "latest")
	if _, err := src.Blob(ctx, "lib", r.Config); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the config of hello in lib: %v", err)
	}
	if got := inspect(t, src, "lib", "latest"); got.Layers[0].Digest != r.Layers[0].Digest {
		t.Errorf("%s is one layer in hello and another alone", lib)
	}
}

func TestPathAddedAndDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a listing that takes its time is asked for again later, by the clock
		m, lib, hello := withHello()
		src := newSource(t, "", m)
		r := inspect(t, src, "hello", "latest")
		added := m.Add("hello-3", storetest.Files{"bin/hello": elf(machineAMD64)})
		if got := inspect(t, src, "hello", "latest"); got.Version != "3" {
			t.Errorf("after adding %s latest is %s", added, got.Version)
		}
		m.Delete(lib)
		if _, err := src.Blob(ctx, "hello", r.Layers[0].Digest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("layer of a deleted path: %v", err)
		}
		if _, err := src.Inspect(ctx, "hello", "2.12.1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("image with a deleted path: %v", err)
		}
		m.Delete(hello)
		if _, err := src.Inspect(ctx, "hello", "2.12.1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("deleted image: %v", err)
		}
	})
}

// TestUnion: the first store that knows a tag answers it, the tags are those of all.
func TestUnion(t *testing.T) {
	a, _, helloA := withHello()
	b := storetest.New()
	b.Add("hello-9", storetest.Files{"bin/hello": elf(machineAMD64)})
	src := newSource(t, "", a, b)
	if r := inspect(t, src, "hello", "latest"); r.Version != "2.12.1" {
		t.Errorf("latest is %s of the second store, not %s", r.Version, helloA)
	}
	if r := inspect(t, src, "hello", "9"); r.Version != "9" {
		t.Errorf("hello:9 is %s", r.Version)
	}
	if tags, err := src.Tags(ctx, "hello"); err != nil || !slices.Contains(tags, "9") || !slices.Contains(tags, "2.12.1") {
		t.Errorf("tags are %v, %v", tags, err)
	}
}

// TestRestartReadsNothing: with the cache of another process, an image is made without a look at its files.
func TestRestartReadsNothing(t *testing.T) {
	m, _, _ := withHello()
	cache := new(digests.Memory)
	var log bytes.Buffer
	start := func() *manifest.Source {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Cache: cache, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	one := get(t, start(), "hello", "latest")
	if n := strings.Count(log.String(), "image made"); n != 1 {
		t.Fatalf("log has %d images made:\n%s", n, log.String())
	}
	log.Reset()
	if two := get(t, start(), "hello", "latest"); two.Digest != one.Digest || strings.Contains(log.String(), "image made") {
		t.Errorf("%s, then %s; log:\n%s", one.Digest, two.Digest, log.String())
	}
}

// TestManyAtOnce: one image, made once, however many ask; one that leaves harms no other.
func TestManyAtOnce(t *testing.T) {
	m, _, _ := withHello()
	var log bytes.Buffer
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Cache: new(digests.Memory), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i%5 == 0 {
				src.Manifest(gone, manifest.Request{Repository: "hello", Tag: "latest", Accept: first})
				return
			}
			if _, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: first}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	src.Close()
	if n := strings.Count(log.String(), "image made"); n != 1 {
		t.Errorf("made %d times:\n%s", n, log.String())
	}
}

func TestWarnings(t *testing.T) {
	m := storetest.New()
	p := m.Add("odd-1", storetest.Files{"bin/odd": elf(62), "bin/.wh.x": storetest.File("")})
	r := inspect(t, newSource(t, "", m), "odd", "latest")
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], p.Abs()+"/bin/.wh.x") {
		t.Errorf("warnings %q", r.Warnings)
	}
}
