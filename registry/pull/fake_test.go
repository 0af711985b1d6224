package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// goldens are images with the hash of the archive that skopeo 1.9.3 made of each. conformance/pull_test.go makes them,
// and checks them where there is a skopeo.
const goldens = "../dockerarchive/testdata"

// golden is one image in a registry. It is an Upstream.
type golden struct {
	Digest              string
	OS, Arch, Variant   string
	FinalName, FinalTag string
	Archive             string
	Manifests           []struct{ MediaType, Data string }
	Blobs               [][]byte

	mu    sync.Mutex // guards asked
	asked []string   // digests of the blobs that were asked for
}

func readGolden(t testing.TB, name string) *golden {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldens, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	g := new(golden)
	if err := json.Unmarshal(b, g); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return g
}

func goldenNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldens, "*.json"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d images in %s: %v", len(files), goldens, err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	return files
}

func digestOf(b []byte) v1.Hash {
	d, _, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		panic(err) // memory can be read
	}
	return d
}

func (g *golden) Manifest(_ context.Context, repo, ref string, _ ...types.MediaType) (*v1.Descriptor, error) {
	for _, m := range g.Manifests {
		if d := digestOf([]byte(m.Data)); d.String() == ref || ref == "tag" && d.String() == g.Digest {
			return &v1.Descriptor{MediaType: types.MediaType(m.MediaType), Digest: d, Data: []byte(m.Data)}, nil
		}
	}
	return nil, fmt.Errorf("manifest %s of %s: %w", ref, repo, fs.ErrNotExist)
}

func (g *golden) Blob(_ context.Context, _ string, d v1.Hash) (io.ReadCloser, error) {
	g.mu.Lock()
	g.asked = append(g.asked, d.String())
	g.mu.Unlock()
	i := slices.IndexFunc(g.Blobs, func(b []byte) bool { return digestOf(b) == d })
	if i < 0 {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(g.Blobs[i])), nil
}

// request is for the image by its digest, as pullImage pulls it.
func (g *golden) request(t *testing.T) Request {
	t.Helper()
	ref, err := ParseReference("docker://registry.test/test/image@" + g.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Image: ref, Platform: Platform{OS: g.OS, Architecture: g.Arch, Variant: g.Variant}, FinalName: g.FinalName, FinalTag: g.FinalTag}
}

// pull pulls the image; nothing may be left in the directory.
func (g *golden) pull(t *testing.T, up Upstream) (*Result, []byte, error) {
	t.Helper()
	var b bytes.Buffer
	p := Puller{Upstream: up, Dir: t.TempDir()}
	result, err := p.Pull(t.Context(), g.request(t), &b)
	wantEmpty(t, p.Dir)
	return result, b.Bytes(), err
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}
