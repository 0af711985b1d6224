package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// hub is an upstream registry in memory, which counts what it is asked.
type hub struct {
	*httptest.Server

	mu    sync.Mutex
	docs  map[string]document // by "repo:tag" and "repo@digest"
	blobs map[string]string   // by "repo@digest"
	tags  map[string][]string
	// referrers are the lists of a hub that has such, by "repo@digest".
	referrers map[string]string
	asked     map[string]int // by "METHOD path"
	// wrong, if set, answers in place of the hub, or returns false.
	wrong func(w http.ResponseWriter, r *http.Request) bool
	// algorithm, if set, is that of the digests of tags, in place of sha256.
	algorithm func() hash.Hash
}

type document struct {
	mediaType types.MediaType
	data      string
}

func newHub(t *testing.T) *hub {
	h := &hub{docs: map[string]document{}, blobs: map[string]string{}, tags: map[string][]string{}, asked: map[string]int{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.asked[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v2/")]++
	wrong := h.wrong
	h.mu.Unlock()
	if wrong != nil && wrong(w, r) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if repo, ref, ok := strings.Cut(path, "/manifests/"); ok {
		d, ok := h.docs[repo+":"+ref]
		if !ok {
			d, ok = h.docs[repo+"@"+ref]
		}
		if ok {
			w.Header().Set("Docker-Content-Digest", h.digest(ref, d.data))
			send(w, string(d.mediaType), d.data)
			return
		}
	}
	if repo, ref, ok := strings.Cut(path, "/blobs/"); ok {
		if b, ok := h.blobs[repo+"@"+ref]; ok {
			send(w, "application/octet-stream", b)
			return
		}
	}
	if repo, ok := strings.CutSuffix(path, "/tags/list"); ok && h.tags[repo] != nil {
		b, _ := json.Marshal(map[string]any{"name": repo, "tags": h.tags[repo]})
		send(w, "application/json", string(b))
		return
	}
	if repo, ref, ok := strings.Cut(path, "/referrers/"); ok && h.referrers != nil {
		send(w, string(types.OCIImageIndex), fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, h.referrers[repo+"@"+ref]))
		return
	}
	http.Error(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"nothing here"}]}`, http.StatusNotFound)
}

// digest is the one that it says of a document.
func (h *hub) digest(ref, data string) string {
	if h.algorithm == nil || strings.Contains(ref, ":") {
		return digestOf(data).String()
	}
	sum := h.algorithm()
	io.WriteString(sum, data)
	return fmt.Sprintf("sha%d:%x", 8*sum.Size(), sum.Sum(nil))
}

func send(w http.ResponseWriter, mediaType, data string) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	fmt.Fprint(w, data) // none of it goes out for a HEAD
}

func (h *hub) fail(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = f
}

// failWith lets every request fail.
func (h *hub) failWith(status int, header ...string) {
	h.fail(func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		return true
	})
}

// requests are what was asked since the last call, as "METHOD path" and how often.
func (h *hub) requests() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.asked
	h.asked = map[string]int{}
	return asked
}

// image adds an image of one layer to a repository and returns its manifest, config and layer.
func (h *hub) image(repo, tag, text string) (manifest, config, layer v1.Hash) {
	configText, layerText := `{"os":"linux","text":"`+text+`"}`, "layer of "+text
	config, layer = digestOf(configText), digestOf(layerText)
	data := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		types.OCIManifestSchema1, types.OCIConfigJSON, config, len(configText), types.OCIUncompressedLayer, layer, len(layerText))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs[repo+"@"+config.String()], h.blobs[repo+"@"+layer.String()] = configText, layerText
	return h.document(repo, tag, types.OCIManifestSchema1, data), config, layer
}

// document adds a document; the hub is locked.
func (h *hub) document(repo, tag string, mt types.MediaType, data string) v1.Hash {
	d := digestOf(data)
	h.docs[repo+"@"+d.String()] = document{mt, data}
	if tag != "" {
		h.docs[repo+":"+tag] = document{mt, data}
	}
	return d
}

// index adds an index of images that are in the repository already.
func (h *hub) index(repo, tag string, platforms map[string]v1.Hash) v1.Hash {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		d := platforms[arch]
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}}`,
			types.OCIManifestSchema1, d, len(h.docs[repo+"@"+d.String()].data), arch))
	}
	return h.document(repo, tag, types.OCIImageIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, types.OCIImageIndex, strings.Join(list, ",")))
}

func digestOf(data string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256([]byte(data)))}
}

// memory is Records that lose nothing.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.values[key]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string][]byte{}
	}
	m.values[key] = value
	return nil
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fixture is a mirror of a hub, and what it is made of.
type fixture struct {
	*Mirror
	hub   *hub
	clock *clock
	c     Config
}

func newFixture(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{hub: newHub(t), clock: &clock{at: time.Unix(1e9, 0)}}
	up, err := upstream.New(upstream.Options{
		Name: "lab", URL: f.hub.URL, Now: f.clock.now,
		Wait: func(context.Context, time.Duration) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := blobs.Open(blobs.Options{Dir: t.TempDir(), Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	f.c = Config{Upstream: up, Blobs: cache, Records: new(memory), Now: f.clock.now}
	for _, change := range change {
		change(&f.c)
	}
	f.restart(t)
	return f
}

// restart makes another mirror of the same parts.
func (f *fixture) restart(t *testing.T) {
	t.Helper()
	if f.Mirror != nil {
		f.Mirror.Close()
	}
	for f.c.Blobs.Stats().Growing > 0 { // who has read a blob need not wait until it is kept
		runtime.Gosched()
	}
	m, err := New(f.c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	f.Mirror = m
}

// pulled asks by tag, or by a digest, as a client that takes everything.
func (f *fixture) pull(t *testing.T, repo, ref string) (*v1.Descriptor, []string, error) {
	t.Helper()
	var warnings []string
	r := registry.Request{Repository: repo, Tag: ref, Accept: everything, Warn: func(s string) { warnings = append(warnings, s) }}
	if d, err := v1.NewHash(ref); err == nil {
		r.Tag, r.Digest = "", d
	}
	d, err := f.Manifest(t.Context(), r)
	if err == nil && digestOf(string(d.Data)) != d.Digest {
		t.Errorf("%s of %s: the bytes are not those of %s", ref, repo, d.Digest)
	}
	return d, warnings, err
}

func everything(offers ...types.MediaType) (types.MediaType, bool) { return offers[0], true }

// read reads a blob whole.
func (f *fixture) read(t *testing.T, repo string, d v1.Hash) (string, error) {
	t.Helper()
	b, err := f.Blob(t.Context(), registry.BlobRequest{Repository: repo, Digest: d})
	if err != nil {
		return "", err
	}
	var s strings.Builder
	err = b.WriteRange(t.Context(), &s, 0, b.Size())
	return s.String(), err
}

func mustPull(t *testing.T, f *fixture, repo, ref string, want v1.Hash) {
	t.Helper()
	d, warnings, err := f.pull(t, repo, ref)
	if err != nil {
		t.Fatal(err)
	}
	if d.Digest != want || len(warnings) > 0 {
		t.Errorf("%s of %s is %s, want %s; warnings %q", ref, repo, d.Digest, want, warnings)
	}
}

func mustRead(t *testing.T, f *fixture, repo string, d v1.Hash, want string) {
	t.Helper()
	if got, err := f.read(t, repo, d); err != nil || got != want {
		t.Errorf("blob %s of %s: %q, %v; want %q", d, repo, got, err, want)
	}
}

// wantRequests compares what the hub was asked since the last look; "" is nothing.
func wantRequests(t *testing.T, f *fixture, want ...string) {
	t.Helper()
	asked := f.hub.requests()
	var got []string
	for _, k := range slices.Sorted(maps.Keys(asked)) {
		if asked[k] != 1 {
			k += " x" + strconv.Itoa(asked[k])
		}
		got = append(got, k)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the upstream was asked for\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
