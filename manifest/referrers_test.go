package manifest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// spdx is what the tests read of a bill of materials.
type spdx struct {
	SPDXVersion       string `json:"spdxVersion"`
	DocumentNamespace string
	Packages          []struct {
		SPDXID, Name, VersionInfo string
		Checksums                 []struct{ Algorithm, ChecksumValue string }
		ExternalRefs              []struct{ ReferenceType, ReferenceLocator string }
	}
	Relationships []struct{ SpdxElementID, RelationshipType, RelatedSpdxElement string }
}

// billOf fetches the one referrer of a manifest as a client does: its manifest, then its layer.
func billOf(t *testing.T, src *manifest.Source, repository string, d v1.Hash) (raw []byte, artifact *v1.Manifest) {
	t.Helper()
	list, err := src.Referrers(ctx, repository, d)
	if err != nil || len(list) != 1 || list[0].ArtifactType != "application/spdx+json" {
		t.Fatalf("referrers of %s: %+v, %v", d, list, err)
	}
	doc, err := src.Manifest(ctx, manifest.Request{Repository: repository, Digest: list[0].Digest})
	if err != nil || doc.MediaType != types.OCIManifestSchema1 || doc.Size != list[0].Size {
		t.Fatalf("artifact: %+v, %v", doc, err)
	}
	if artifact, err = v1.ParseManifest(bytes.NewReader(doc.Data)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	digest(t, src, repository, artifact.Layers[0].Digest, &b)
	digest(t, src, repository, artifact.Config.Digest, nil)
	return b.Bytes(), artifact
}

// TestSeveralAttachers: a manifest has a referrer of each attacher; one that has nothing to tell hides no other. Each is made
// once, and remembered by itself.
func TestSeveralAttachers(t *testing.T) {
	m, _, _ := withHello()
	cache := &shelf{records: make(map[string][]byte)}
	made := 0
	attach := func() *manifest.Source {
		src := withCache(t, cache, m)
		src.Attach("nothing", "text/none", func(string) ([]byte, error) { return nil, fs.ErrNotExist })
		src.Attach("note", "text/note", func(title string) ([]byte, error) { made++; return []byte("about " + title), nil })
		return src
	}
	var first []v1.Descriptor
	for range 2 { // processes
		src := attach()
		oci := get(t, src, "hello", "latest")
		for range 2 {
			list, err := src.Referrers(ctx, "hello", oci.Digest)
			if err != nil || len(list) != 2 || list[0].ArtifactType != "application/spdx+json" || list[1].ArtifactType != "text/note" {
				t.Fatalf("referrers %+v, %v", list, err)
			}
			if first == nil {
				first = list
			}
			if list[0].Digest != first[0].Digest || list[1].Digest != first[1].Digest || made != 1 {
				t.Errorf("referrers %+v, not %+v; made %d times", list, first, made)
			}
		}
		doc, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Digest: first[1].Digest})
		if err != nil {
			t.Fatal(err)
		}
		artifact, err := v1.ParseManifest(bytes.NewReader(doc.Data))
		if err != nil || artifact.Subject.Digest != oci.Digest || artifact.Layers[0].Annotations["org.opencontainers.image.title"] != "note.txt" {
			t.Errorf("artifact %s, %v", doc.Data, err)
		}
		var b bytes.Buffer
		if digest(t, src, "hello", artifact.Layers[0].Digest, &b); b.String() != "about hello" {
			t.Errorf("document %q", b.String())
		}
	}
}

func TestBillOfMaterials(t *testing.T) {
	m, lib, hello := withHello()
	src := newSource(t, "", m)
	oci := get(t, src, "hello", "latest")
	raw, artifact := billOf(t, src, "hello", oci.Digest)
	if artifact.Subject == nil || artifact.Subject.Digest != oci.Digest || artifact.Subject.MediaType != oci.MediaType || artifact.Subject.Size != oci.Size {
		t.Errorf("subject %+v", artifact.Subject)
	}
	var doc spdx
	if err := json.Unmarshal(raw, &doc); err != nil || doc.SPDXVersion != "SPDX-2.3" {
		t.Fatalf("%v: %s", err, raw)
	}
	o, err := m.Object(ctx, lib)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range doc.Packages {
		if p.SPDXID == "SPDXRef-Package-"+lib.Hash() {
			found = p.Name == "lib" && p.VersionInfo == "1.0" && p.Checksums[0].ChecksumValue == hex.EncodeToString(o.NarHash[:]) &&
				p.ExternalRefs[1].ReferenceLocator == lib.Abs()
		}
	}
	if !found || len(doc.Packages) != 3 {
		t.Errorf("packages %+v", doc.Packages)
	}
	depends := `{"spdxElementId":"SPDXRef-Package-` + hello.Hash() + `","relationshipType":"DEPENDS_ON","relatedSpdxElement":"SPDXRef-Package-` + lib.Hash() + `"}`
	if !strings.Contains(string(raw), depends) {
		t.Errorf("no %s in %s", depends, raw)
	}
}

// TestBillIsTheSameFromEveryStore: it tells nothing that differs between stores.
func TestBillIsTheSameFromEveryStore(t *testing.T) {
	bill := func(deriver string, registered int64) string {
		m, _, hello := withHello()
		m.Edit(hello, func(o *store.Object) {
			o.Registered = registered
			if deriver != "" {
				o.Deriver = store.Path(strings.Repeat("0", 32) + "-" + deriver)
			}
		})
		src := newSource(t, "", m)
		raw, _ := billOf(t, src, "hello", get(t, src, "hello", "latest").Digest)
		return string(raw)
	}
	if a, b := bill("", 0), bill("hello-2.12.1.drv", 1234); a != b {
		t.Errorf("differs:\n%s\n%s", a, b)
	}
}

// TestEveryManifestHasABill: each platform's, in both dialects; an index has none.
func TestEveryManifestHasABill(t *testing.T) {
	m := storetest.New()
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineARM64)})
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)})
	src := newSource(t, "", m)
	desc := get(t, src, "hello", "1")
	index, err := v1.ParseIndexManifest(bytes.NewReader(desc.Data))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range index.Manifests {
		billOf(t, src, "hello", c.Digest)
	}
	docker, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "1", Accept: only(types.DockerManifestSchema2)})
	if err != nil {
		t.Fatal(err)
	}
	billOf(t, src, "hello", docker.Digest)
	for _, none := range []v1.Hash{desc.Digest, {Algorithm: "sha256", Hex: strings.Repeat("2", 64)}} {
		if list, err := src.Referrers(ctx, "hello", none); err != nil || len(list) != 0 {
			t.Errorf("referrers of %s: %v, %v", none, list, err)
		}
	}
	if list, err := src.Referrers(ctx, "absent", desc.Digest); err != nil || len(list) != 0 {
		t.Errorf("referrers in an unknown repository: %v, %v", list, err)
	}
}

// TestReferrersTag: clients that know no endpoint ask for the tag sha256-<hex>. It is not listed.
func TestReferrersTag(t *testing.T) {
	m, _, _ := withHello()
	src := newSource(t, "", m)
	d := get(t, src, "hello", "latest")
	tag := "sha256-" + d.Digest.Hex
	desc := get(t, src, "hello", tag)
	if again, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Digest: desc.Digest}); err != nil || again.Digest != desc.Digest {
		t.Errorf("by digest: %v, %v", again, err)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(desc.Data))
	if err != nil || len(index.Manifests) != 1 || index.Manifests[0].ArtifactType != "application/spdx+json" {
		t.Errorf("%s: %v", desc.Data, err)
	}
	tags, err := src.Tags(ctx, "hello")
	if err != nil || strings.Contains(strings.Join(tags, " "), "sha256-") {
		t.Errorf("tags %v, %v", tags, err)
	}
	absent := manifest.Request{Repository: "hello", Tag: "sha256-" + strings.Repeat("3", 64), Accept: first}
	if _, err := src.Manifest(ctx, absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("tag of an unknown digest: %v", err)
	}
}

// TestBillIsFoundAgain: after the cache was lost, by the digest of the bill itself.
func TestBillIsFoundAgain(t *testing.T) {
	m, _, _ := withHello()
	before := newSource(t, "", m)
	_, artifact := billOf(t, before, "hello", get(t, before, "hello", "latest").Digest)
	digest(t, newSource(t, "", m), "hello", artifact.Layers[0].Digest, nil)
}

// TestBills: they are the bytes that referrers have, one for each platform.
func TestBills(t *testing.T) {
	m := storetest.New()
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineARM64)})
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)})
	src := newSource(t, "", m)
	bills, err := src.Bills(ctx, "hello", "1")
	if err != nil || len(bills) != 2 || bills[0].Platform.String() != "linux/amd64" || bills[1].Platform.String() != "linux/arm64" {
		t.Fatalf("%v, %v", bills, err)
	}
	for _, b := range bills {
		if raw, _ := billOf(t, src, "hello", b.Manifest); !bytes.Equal(raw, b.SPDX) {
			t.Errorf("%s: differs from the referrer's:\n%s\n%s", b.Platform, b.SPDX, raw)
		}
	}
	if _, err := src.Bills(ctx, "absent", "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestLogOfImageWithoutCommand: the log says that an image runs nothing, and why.
func TestLogOfImageWithoutCommand(t *testing.T) {
	m := storetest.New()
	m.Add("ripgrep-1", storetest.Files{"bin/rg": elf(machineAMD64)})
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)})
	var log bytes.Buffer
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Cache: new(digests.Memory), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, name := range []string{"hello", "ripgrep/hello"} {
		if _, err := src.Inspect(ctx, name, "latest"); err != nil {
			t.Fatal(err)
		}
	}
	if all := log.String(); strings.Count(all, "image has no command") != 1 || !strings.Contains(all, `image=ripgrep/hello why="several programs in bin"`) {
		t.Error(all)
	}
}
