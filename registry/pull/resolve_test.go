package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// replaced is the image of "one-oci" with another manifest.
func replaced(t *testing.T, mediaType types.MediaType, data string) *golden {
	t.Helper()
	g := readGolden(t, "one-oci")
	g.setManifest(mediaType, data)
	return g
}

func (g *golden) setManifest(mediaType types.MediaType, data string) {
	g.Manifests = append(g.Manifests, struct{ MediaType, Data string }{string(mediaType), data})
	g.Digest = digestOf([]byte(data)).String()
}

func TestWhatIsNoImage(t *testing.T) {
	of := func(config, layer string) string {
		d := `{"mediaType":%q,"size":1,"digest":"` + someDigest + `"}`
		return fmt.Sprintf(`{"schemaVersion":2,"config":`+d+`,"layers":[`+d+`]}`, config, layer)
	}
	many := `{"config":{"digest":"` + someDigest + `"},"layers":[` + strings.TrimSuffix(strings.Repeat(`{"digest":"`+someDigest+`","mediaType":"`+string(types.DockerLayer)+`"},`, 513), ",") + `]}`
	sha512 := "sha512:" + strings.Repeat("0", 128)
	withLayer := func(l string) string {
		return strings.Replace(of(string(types.OCIConfigJSON), string(types.OCILayer)), `"layers":[`, `"layers":[{"mediaType":"`+string(types.OCILayer)+`","size":1`+l+`},`, 1)
	}
	nested := readGolden(t, "index-oci-amd64")
	for name, c := range map[string]struct {
		mediaType types.MediaType
		data      string
		kind      error
		says      string
	}{
		"schema 1":        {types.DockerManifestSchema1Signed, `{"schemaVersion":1,"fsLayers":[]}`, errors.ErrUnsupported, "schema 1"},
		"no type":         {"application/json", `{"schemaVersion":1,"fsLayers":[]}`, errors.ErrUnsupported, "schema 1"},
		"unknown type":    {"text/html", `{}`, errors.ErrUnsupported, "not an image"},
		"no JSON":         {types.OCIManifestSchema1, `<html>`, ErrCorrupt, "invalid character"},
		"artifact":        {types.OCIManifestSchema1, of("application/vnd.cncf.helm.config.v1+json", string(types.OCILayer)), errors.ErrUnsupported, "artifact"},
		"attestation":     {types.OCIManifestSchema1, of(string(types.OCIConfigJSON), "application/vnd.in-toto+json"), errors.ErrUnsupported, "not a layer of an image"},
		"encrypted":       {types.OCIManifestSchema1, of(string(types.OCIConfigJSON), string(types.OCILayer)+"+encrypted"), errors.ErrUnsupported, "not a layer of an image"},
		"no config":       {types.DockerManifestSchema2, `{"schemaVersion":2,"layers":[]}`, ErrCorrupt, "no configuration"},
		"sha512":          {types.DockerManifestSchema2, `{"config":{"size":1,"digest":"` + sha512 + `"}}`, errors.ErrUnsupported, "configuration: its digest is sha512: only sha256"},
		"sha512, a layer": {types.OCIManifestSchema1, withLayer(`,"digest":"` + sha512 + `"`), errors.ErrUnsupported, "layer 1 of 2: its digest is sha512: only sha256"},
		"no digest":       {types.OCIManifestSchema1, withLayer(""), ErrCorrupt, "layer 1 of 2: has no digest"},
		"too many layers": {types.DockerManifestSchema2, many, errors.ErrUnsupported, "513 layers"},
		"both":            {types.OCIManifestSchema1, `{"layers":[],"manifests":[]}`, ErrCorrupt, "an index and an image"},
		"both, an index":  {types.OCIImageIndex, `{"layers":[],"manifests":[]}`, ErrCorrupt, "an index and an image"},
		"index in an index": {types.OCIImageIndex, fmt.Sprintf(`{"manifests":[{"digest":%q,"size":1}]}`, nested.Digest), errors.ErrUnsupported,
			"lists an index as the image"},
		"absent": {types.OCIImageIndex, fmt.Sprintf(`{"manifests":[{"digest":%q,"size":1}]}`, someDigest), fs.ErrNotExist, "manifest sha256:"},
	} {
		g := replaced(t, c.mediaType, c.data)
		g.Manifests = append(g.Manifests, nested.Manifests...)
		if _, archive, err := g.pull(t, g); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || len(archive) > 0 {
			t.Errorf("%s: %v, and %d bytes; want an error matching %q that says %q", name, err, len(archive), c.kind, c.says)
		}
	}
}

// A registry that does not know its manifests' types is helped by their own mediaType.
func TestContentTypes(t *testing.T) {
	for _, mediaType := range []types.MediaType{"", "application/json", "text/plain; charset=utf-8", types.OCIManifestSchema1 + "; charset=utf-8", ";;"} {
		g := readGolden(t, "one-oci")
		g.Manifests[0].MediaType = string(mediaType)
		if result, _, err := g.pull(t, g); err != nil || result.Hash != g.Archive {
			t.Errorf("Content-Type %q: %+v, %v", mediaType, result, err)
		}
	}
}

func TestTagAndDigestAreTheSame(t *testing.T) {
	g := readGolden(t, "index-oci-arm64")
	r := g.request(t)
	r.Image.Digest, r.Image.Tag = v1.Hash{}, "tag"
	p := Puller{Upstream: g, Dir: t.TempDir()}
	result, err := p.Pull(t.Context(), r, new(strings.Builder))
	if err != nil || result.Hash != g.Archive || result.Digest.String() != g.Digest || result.Manifest == result.Digest {
		t.Errorf("%+v, %v; want the index %s", result, err, g.Digest)
	}
	if want := (Platform{OS: "linux", Architecture: "arm64"}); result.Platform != want {
		t.Errorf("platform is %s, want %s", result.Platform, want)
	}
}

func TestBadRequest(t *testing.T) {
	g := readGolden(t, "one-oci")
	for name, change := range map[string]func(*Request){
		"name": func(r *Request) { r.FinalName = "A" }, "no name": func(r *Request) { r.FinalName = "" },
		"tag": func(r *Request) { r.FinalTag = "a b" }, "no tag": func(r *Request) { r.FinalTag = "" },
		"os": func(r *Request) { r.Platform.OS = "" }, "arch": func(r *Request) { r.Platform.Architecture = "a\"b" }, "variant": func(r *Request) { r.Platform.Variant = "$" },
	} {
		r := g.request(t)
		change(&r)
		p := Puller{Upstream: g, Dir: t.TempDir()}
		if _, err := p.Pull(t.Context(), r, new(strings.Builder)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(g.asked) > 0 {
		t.Error("the registry was asked")
	}
}

// presentable reports whether a terminal may get the text of an error.
func presentable(err error) bool {
	return len(err.Error()) < 1000 && !strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) })
}

// What a registry sends is shown to people: no more of it than they can read, and nothing that a terminal obeys.
func TestWhatParsersSay(t *testing.T) {
	for name, digest := range map[string]string{
		"escape": `sha256:\u001b]0;`, "another": `sha256:\u009b31m`, "lines": `sha256:\n`, "long": "sha256:" + strings.Repeat("a", 1<<20),
	} {
		img := &image{config: []byte(`{"rootfs":{"diff_ids":["` + digest + `"]}}`)}
		ofConfig := img.parseConfig()
		_, ofManifest := parseManifest(&v1.Descriptor{MediaType: types.DockerManifestSchema2, Data: []byte(`{"config":{"digest":"` + digest + `"}}`)})
		_, ofIndex := (&Puller{}).fromIndex(t.Context(), Request{}, &v1.Descriptor{Data: []byte(`{"manifests":[{"digest":"` + digest + `"}]}`)})
		_, ofKind := kindOf(&v1.Descriptor{Data: []byte(`{"mediaType":1` + strings.Repeat("0", 1<<10) + `}`)})
		for _, err := range []error{ofConfig, ofManifest, ofIndex, ofKind} {
			if !errors.Is(err, ErrCorrupt) || !presentable(err) {
				t.Errorf("%s: %.500q", name, err)
			}
		}
	}
}

// An image for another platform is pulled, as skopeo does it, but not in silence.
func TestOtherPlatformIsSaid(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ config, want string }{
		"one-oci":        {"", ""},
		"other-platform": {"", `platform=linux/amd64 wanted=linux/s390x`},
		"no-layers":      {`{"os":"` + long + `","rootfs":{}}`, `platform="\"` + long[:100] + `\"" wanted=linux/amd64`},
	} {
		g := readGolden(t, name)
		if c.config != "" {
			g.Blobs = append(g.Blobs, []byte(c.config))
			g.with(t, func(m *v1.Manifest) {
				m.Config.Digest, m.Config.Size = digestOf([]byte(c.config)), int64(len(c.config))
			})
		}
		var said bytes.Buffer
		p := Puller{Upstream: g, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&said, nil))}
		if _, err := p.Pull(t.Context(), g.request(t), io.Discard); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := said.String(); !strings.HasSuffix(got, c.want+"\n") && (c.want != "" || got != "") {
			t.Errorf("%s: logged %.500q, want %q", name, got, c.want)
		}
	}
}

// skopeo, too, wants the configuration to be as long as the manifest says.
func TestSizeOfTheConfiguration(t *testing.T) {
	for _, more := range []int64{-1, 1} {
		g := readGolden(t, "one-oci")
		g.with(t, func(m *v1.Manifest) { m.Config.Size += more })
		if _, _, err := g.pull(t, g); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "bytes, in the manifest") {
			t.Errorf("%d bytes more: %v", more, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	for _, name := range []string{"one-oci", "one-docker", "index-oci-arm", "index-docker-arm"} {
		g := readGolden(f, name)
		for _, m := range g.Manifests {
			f.Add(m.MediaType, m.Data)
		}
	}
	f.Fuzz(func(t *testing.T, mediaType, data string) {
		d := &v1.Descriptor{MediaType: types.MediaType(mediaType), Data: []byte(data)}
		kind, err := kindOf(d)
		if err == nil && kind.IsIndex() {
			return
		}
		var m *v1.Manifest
		if err == nil {
			d.MediaType = kind
			m, err = parseManifest(d)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) || !presentable(err) {
				t.Fatal(err)
			}
			return
		}
		for _, l := range m.Layers {
			if len(l.Digest.Hex) != 64 || l.Size < 0 {
				t.Fatalf("layer %+v", l)
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	for _, name := range []string{"one-oci", "one-docker", "odd-config", "no-layers"} {
		for _, b := range readGolden(f, name).Blobs {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		img := &image{config: config, manifest: new(v1.Manifest)}
		if err := img.parseConfig(); err != nil && (!errors.Is(err, ErrCorrupt) || !presentable(err)) {
			t.Fatal(err)
		}
	})
}
