package dockerarchive

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// golden is an image in a registry with the hash of the archive that skopeo 1.9.3 made of it. conformance/pull_test.go
// makes these files, and checks them where there is a skopeo.
type golden struct {
	Digest, FinalName, FinalTag, Archive string
	Manifests                            []struct{ Data string }
	Blobs                                [][]byte
}

func (g *golden) blob(t *testing.T, d v1.Hash) []byte {
	t.Helper()
	for _, b := range g.Blobs {
		if "sha256:"+hexSHA256(b) == d.String() {
			return b
		}
	}
	t.Fatalf("no blob %s", d)
	return nil
}

// image makes of it what Write takes; ok is false for an index, which somebody must choose from first.
func (g *golden) image(t *testing.T) (img Image, ok bool) {
	t.Helper()
	m, err := v1.ParseManifest(strings.NewReader(g.Manifests[len(g.Manifests)-1].Data))
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest == (v1.Hash{}) {
		return Image{}, false
	}
	img = Image{Name: normalized(g.FinalName), Tag: g.FinalTag, Config: g.blob(t, m.Config.Digest)}
	for _, l := range m.Layers {
		img.Layers = append(img.Layers, layerOf(uncompressed(t, g.blob(t, l.Digest))))
	}
	return img, true
}

// normalized is enough of the rules for names for the ones in these files.
func normalized(name string) string {
	switch {
	case strings.Contains(name, ":"):
		return name
	case strings.Contains(name, "/"):
		return "docker.io/" + name
	}
	return "docker.io/library/" + name
}

func uncompressed(t *testing.T, b []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(b)
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		r, err = gzip.NewReader(r)
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	if err == nil {
		b, err = io.ReadAll(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func layerOf(b []byte) Layer {
	return Layer{
		DiffID: v1.Hash{Algorithm: "sha256", Hex: hexSHA256(b)},
		Size:   int64(len(b)),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}

func TestWriteWritesWhatSkopeoWrites(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		g := new(golden)
		if err := json.Unmarshal(b, g); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		img, ok := g.image(t)
		if !ok {
			continue
		}
		checked++
		sum := sha256.New()
		if err := Write(t.Context(), sum, img); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if got := "sha256-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != g.Archive {
			t.Errorf("%s: archive is %s, skopeo's is %s", f, got, g.Archive)
		}
	}
	if checked < 15 {
		t.Errorf("%d images only", checked)
	}
}

func hexSHA256(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
