package conformance_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// The finished images of the vectors are made of the images to pull: their documents and layers are checked in, so that
// what decides a digest comes from no compressor and no library of today.

// document returns the manifest that a case has for a platform, "" for the only one, with its descriptor in JSON.
func (c *pullCase) document(t *testing.T, mediaType, arch string) (data, descriptor string) {
	t.Helper()
	for _, m := range c.Manifests {
		config, _ := c.find("blobs", decoded[document](t, m.Data).Config.Digest)
		if m.MediaType == mediaType && (arch == "" || strings.Contains(string(config), `"architecture":"`+arch+`"`)) {
			return m.Data, descriptorOf(m.MediaType, []byte(m.Data))
		}
	}
	t.Fatalf("the case has no %s for %q", mediaType, arch)
	return "", ""
}

func decoded[T any](t *testing.T, data string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// saved is an image in a docker-archive, as its list has it.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archiveOf makes a docker-archive of cases, whose images get the references that stand behind their names: "many=app:v1,app:v2".
func archiveOf(t *testing.T, images ...string) []byte {
	t.Helper()
	members := make(map[string][]byte)
	var list []saved
	for _, image := range images {
		name, refs, _ := strings.Cut(image, "=")
		c := readPullCase(t, name)
		m := c.Manifests[slices.IndexFunc(c.Manifests, func(m pullManifest) bool { return sha256Of([]byte(m.Data)) == c.Digest })]
		d := decoded[document](t, m.Data)
		one := saved{RepoTags: strings.FieldsFunc(refs, func(r rune) bool { return r == ',' })}
		for i, b := range d.blobs() {
			_, member, _ := strings.Cut(b.Digest, ":")
			if member += ".tar"; i == 0 {
				member = strings.TrimSuffix(member, ".tar") + ".json"
				one.Config = member
			} else {
				one.Layers = append(one.Layers, member)
			}
			members[member], _ = c.find("blobs", b.Digest)
		}
		list = append(list, one)
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	members["manifest.json"] = b
	return tarred(t, members)
}

func tarred(t *testing.T, members map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		b := members[name]
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func inGzip(t *testing.T, b []byte) []byte {
	t.Helper()
	return packed(t, b, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

func inZstd(t *testing.T, b []byte) []byte {
	t.Helper()
	return packed(t, b, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
}

// layout is an OCI layout: the files below its directory.
type layout map[string][]byte

// newLayout has all that is in the cases, and lists entries: descriptors in JSON.
func newLayout(cases []*pullCase, entries ...string) layout {
	l := layout{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	for _, c := range cases {
		for _, m := range c.Manifests {
			l.add([]byte(m.Data))
		}
		for _, b := range c.Blobs {
			l.add(b)
		}
	}
	l["index.json"] = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(entries, ","))
	return l
}

func (l layout) add(b []byte) {
	l["blobs/sha256/"+strings.TrimPrefix(sha256Of(b), "sha256:")] = b
}

// entry is a descriptor with a name, or a platform, or both.
func entry(descriptor, name, platform string) string {
	descriptor = strings.TrimSuffix(descriptor, "}")
	if name != "" {
		descriptor += fmt.Sprintf(`,"annotations":{"org.opencontainers.image.ref.name":%q}`, name)
	}
	if platform != "" {
		descriptor += `,"platform":` + platform
	}
	return descriptor + "}"
}

// write puts the files below a directory.
func (l layout) write(t *testing.T, dir string) {
	t.Helper()
	for name, b := range l {
		writeInto(t, dir, name, b)
	}
}

// nar is the layout as a store path.
func (l layout) nar() []byte {
	var blobs []narEntry
	for name, b := range l {
		if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			blobs = append(blobs, narEntry{hex, narFile(string(b))})
		}
	}
	slices.SortFunc(blobs, func(a, b narEntry) int { return strings.Compare(a.name, b.name) })
	return narDir(narEntry{"blobs", narTree(narEntry{"sha256", narTree(blobs...)})},
		narEntry{"index.json", narFile(string(l["index.json"]))}, narEntry{"oci-layout", narFile(string(l["oci-layout"]))})
}

// finishedImages writes archives and layouts below a directory of images, and base images into another one.
func finishedImages(t *testing.T, images, bases string) {
	t.Helper()
	plain, gzipped := archiveOf(t, "plain-docker=team/plain:v1"), archiveOf(t, "many=example.com:5000/team/many:v1")
	for name, b := range map[string][]byte{
		"plain.tar": plain, "plain-gz.tar.gz": inGzip(t, plain), "plain-zst.tar.zst": inZstd(t, plain),
		"gzipped.tar": gzipped, "gzipped-zst.tar.zst": inZstd(t, gzipped), "nameless.tar": archiveOf(t, "odd-config="),
		"members.tar": archiveOf(t, "gzip-members=a:v1"), "zstd.tar": archiveOf(t, "zstd=a:v1"), "empty.tar": archiveOf(t, "empty-layers=a:v1"),
		"repeated.tar": archiveOf(t, "repeated-otherwise-compressed=a:v1"), "none.tar": archiveOf(t, "no-layers=a:v1"),
		"several.tar": archiveOf(t, "one-docker=app:v1,app:v2,other:v3", "one-oci=app:w1", "plain-said-to-be-gzip=app:x1"),
	} {
		writeInto(t, images, "archive/"+name, b)
	}
	for name, b := range map[string][]byte{"plain.tar": plain, "plain.tar.gz": inGzip(t, plain), "gzipped.tar.zst": inZstd(t, gzipped)} {
		writeInto(t, bases, name, b)
	}
	for name, l := range layouts(t) {
		l.write(t, filepath.Join(images, "layout", name))
	}
	layouts(t)["platforms"].write(t, filepath.Join(bases, "layout"))
}

// layouts are those of the vectors by name.
func layouts(t *testing.T) map[string]layout {
	t.Helper()
	many, docker, zstd, attested := readPullCase(t, "many"), readPullCase(t, "one-docker"), readPullCase(t, "zstd"), readPullCase(t, "index-attested")
	platforms := readPullCase(t, "index-docker-arm64")
	_, m := many.document(t, ociManifest, "")
	_, d := docker.document(t, dockerManifest, "")
	_, z := zstd.document(t, ociManifest, "")
	_, a := attested.document(t, ociIndex, "")
	_, list := platforms.document(t, dockerList, "")
	_, amd64 := platforms.document(t, ociManifest, "amd64")
	_, arm64 := platforms.document(t, dockerManifest, "arm64")
	_, attestation := attested.document(t, ociManifest, "unknown")
	beside := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, ociIndex,
		entry(attestation, "", `{"architecture":"unknown","os":"unknown"}`), entry(arm64, "", `{"architecture":"arm64","os":"linux"}`))
	artifact := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, ociManifest,
		descriptorOf("application/vnd.oci.empty.v1+json", []byte("{}")), descriptorOf("application/vnd.example.chart", []byte("chart")))
	named := newLayout([]*pullCase{many, docker, zstd, attested, platforms}, entry(m, "v1", ""), entry(d, "example.com/app:v2", ""), entry(z, "v3", ""),
		entry(a, "v4", ""), entry(list, "v5", ""), entry(descriptorOf(ociManifest, []byte(artifact)), "v6", ""))
	for _, b := range []string{artifact, "{}", "chart"} {
		named.add([]byte(b))
	}
	other := newLayout([]*pullCase{attested, platforms}, descriptorOf(ociIndex, []byte(beside)))
	other.add([]byte(beside))
	return map[string]layout{
		"attested": other,
		"only":     newLayout([]*pullCase{many}, m),
		"named":    named,
		"platforms": newLayout([]*pullCase{platforms}, entry(amd64, "", `{"architecture":"amd64","os":"linux"}`),
			entry(arm64, "", `{"architecture":"arm64","os":"linux","variant":"v8"}`)),
	}
}
