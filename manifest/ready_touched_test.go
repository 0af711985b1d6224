package manifest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestTouchedArchiveByDigest: whatever changes the state of an archive and not its bytes, who asks by digest is served,
// without anybody asking for a tag before.
func TestTouchedArchiveByDigest(t *testing.T) {
	then := time.Unix(1e9, 0)
	for name, touch := range map[string]func(file string) error{
		"chmod": func(file string) error { return os.Chmod(file, 0o400) },
		"touch": func(file string) error { return os.Chtimes(file, then, then) },
		"link":  func(file string) error { return os.Link(file, filepath.Join(t.TempDir(), "link")) },
		"restore": func(file string) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.WriteFile(file, b, 0o600)
		},
	} {
		for kind, pack := range packers {
			f := newFinished(t, gzipped)
			dir := writeArchive(t, pack(t, f.nixpkgs(t)))
			src := newSource(t, dir, storetest.New())
			m, _ := pull(t, src, "app", "v1")
			if err := touch(filepath.Join(dir, "app.tar")); err != nil {
				t.Fatal(err)
			}
			for _, b := range append(m.Layers, m.Config) {
				if err := intact(src, "app", b.Digest); err != nil {
					t.Errorf("%s, %s: %v", name, kind, err)
				}
			}
		}
	}
}

// TestLayoutGrows: another tag and another blob in a layout neither break what somebody pulls from it, nor make blobs be
// hashed again.
func TestLayoutGrows(t *testing.T) {
	f, more := newFinished(t, gzipped), newFinished(t, gzipped)
	more.layers[1] = layerTar(t, "etc/two", "another")
	more.diffIDs[1] = "sha256:" + sha256Hex(more.layers[1])
	more.describe(t, "amd64")
	dir := t.TempDir()
	app := filepath.Join(dir, "app")
	files := f.layout(t)
	writeAll(t, app, files)
	src := newSource(t, dir, storetest.New())
	before := get(t, src, "app", "v1")

	added := more.layout(t)
	delete(added, "oci-layout")
	added["index.json"] = strings.Replace(files["index.json"], `"manifests":[`, `"manifests":[`+layoutEntry(more.manifest(t), "v2")+`,`, 1)
	for name := range added {
		if files[name] == added[name] {
			delete(added, name)
		}
	}
	writeAll(t, app, added)
	hashed := src.Hashed()
	all(t, src, "app", files)
	src.Catalog().Reload(ctx)
	if d := get(t, src, "app", "v1"); d.Digest != before.Digest {
		t.Errorf("v1 is %s", d.Data)
	}
	if n := src.Hashed() - hashed; n != 0 {
		t.Errorf("%d bytes were hashed again", n)
	}
	if d := get(t, src, "app", "v2"); string(d.Data) != more.manifest(t) {
		t.Errorf("v2 is %s", d.Data)
	}
}

func layoutEntry(doc, tag string) string {
	return `{"mediaType":"` + ociManifest + `","digest":"sha256:` + sha256Hex([]byte(doc)) + `","size":` + strconv.Itoa(len(doc)) +
		`,"annotations":{"org.opencontainers.image.ref.name":"` + tag + `"}}`
}

// TestNewestOfALayout: after records were lost, what was added last to a layout is found by its digest.
func TestNewestOfALayout(t *testing.T) {
	files, entries := map[string]string{}, []string{}
	var last string
	for i := range 10 {
		f := newFinished(t, unpacked)
		f.describe(t, "arm"+strconv.Itoa(i))
		for name, data := range f.layout(t) {
			files[name] = data
		}
		last = f.manifest(t)
		entries = append(entries, layoutEntry(last, "v"+strconv.Itoa(i)))
	}
	files["index.json"] = `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "app"), files)
	if err := known(newSource(t, dir, storetest.New()), "app", v1.Hash{Algorithm: "sha256", Hex: sha256Hex([]byte(last))}); err != nil {
		t.Error(err)
	}
}

// TestLayoutOfLinks: a layout whose files are links to others in it is one image, no folder of them.
func TestLayoutOfLinks(t *testing.T) {
	f := newFinished(t, gzipped)
	dir := t.TempDir()
	files := f.layout(t)
	writeAll(t, filepath.Join(dir, "app", "real"), files)
	for name := range files {
		file := filepath.Join(dir, "app", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		link(t, strings.Repeat("../", strings.Count(name, "/"))+"real/"+name, file)
	}
	src := newSource(t, dir, storetest.New())
	if d := get(t, src, "app", "v1"); string(d.Data) != f.manifest(t) {
		t.Errorf("%s", d.Data)
	}
	all(t, src, "app", files)
	if names, err := src.Repositories(ctx); err != nil || len(names) != 1 {
		t.Errorf("repositories are %q, %v", names, err)
	}
}

// TestLinkOutOfALayout: clients are told of a link that leads out, and not where.
func TestLinkOutOfALayout(t *testing.T) {
	f := newFinished(t, unpacked)
	for what, name := range map[string]string{
		"manifest": blobName(f.manifest(t)), "blob": blobName(string(f.layers[1])), "index": "index.json",
	} {
		files := f.layout(t)
		secret := filepath.Join(t.TempDir(), "elsewhere")
		write(t, secret, files[name])
		delete(files, name)
		dir := t.TempDir()
		writeAll(t, filepath.Join(dir, "app"), files)
		link(t, secret, filepath.Join(dir, "app", name))
		_, err := newSource(t, dir, storetest.New()).Inspect(ctx, "app", "v1")
		if err == nil || strings.Contains(err.Error(), "elsewhere") || !strings.Contains(err.Error(), "is a link out of") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestUnusualConfig: a command that is no list is told as one; a name that no repository can have is no title.
func TestUnusualConfig(t *testing.T) {
	f := newFinished(t, unpacked)
	f.config = strings.Replace(f.config, `"Cmd":["/app"],"Env":["A=1"]`, `"Entrypoint":"/bin/sh","Cmd":7`, 1)
	f.tags = []string{strings.Repeat("x", 300) + ":v1"}
	src, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{storetest.New()}, Images: []string{writeArchive(t, f.nixpkgs(t))}, Cache: new(digests.Memory),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	if r := inspect(t, src, "app", "v1"); len(r.Command) != 1 || r.Command[0] != "/bin/sh" {
		t.Errorf("command is %q", r.Command)
	}
	if m, config := pull(t, src, "app", "v1"); string(config) != f.config || len(m.Annotations["org.opencontainers.image.title"]) > 255 {
		t.Errorf("config is %s, annotations are %v", config, m.Annotations)
	}
}
