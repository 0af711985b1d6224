package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

// lab is the name under which nixreg mirrors the upstreams of these tests.
const lab = "lab"

// through are options for a server that mirrors an upstream.
func through(u *upstream, args ...string) options {
	return options{Args: append([]string{"--demo", "--mirror", lab + "=" + u.URL}, args...)}
}

// A crowd that wants what is not there costs the upstream one request for each tag and digest. Every byte is right.
func TestPullThroughInACrowd(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 1, platforms: 2, layers: 5, size: 100_000, repository: "team/app", tags: "v1"})
	s := start(t, through(u))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}}
	defer client.CloseIdleConnections()

	together, ctx := errgroup.WithContext(t.Context())
	for range crowd {
		together.Go(func() error { return pullIndex(ctx, client, s.URL+"/v2/lab/team/app", "v1") })
	}
	if err := together.Wait(); err != nil {
		t.Fatal(err)
	}
	u.once(t)
	sameImage(t, "through the mirror", s.image(t, "lab/team/app", want[0].Digest), want)
	u.once(t)
	s.checkKept(t)
}

// pullIndex fetches what a tag stands for with all its children and blobs, and holds each digest against the bytes.
func pullIndex(ctx context.Context, client *http.Client, repo, ref string) error {
	top, err := fetchManifest(ctx, client, repo+"/manifests/"+ref)
	if err != nil {
		return err
	}
	all := []document{top}
	for _, child := range top.Manifests {
		m, err := fetchManifest(ctx, client, repo+"/manifests/"+child.Digest)
		if err == nil {
			err = same("a child's digest", m.Digest, child.Digest)
		}
		if err != nil {
			return err
		}
		all = append(all, m)
	}
	for _, d := range all {
		for _, b := range d.blobs() {
			if err := fetchBlob(ctx, client, repo+"/blobs/"+b.Digest, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// While one layer stands still at the upstream, all who want it have its first half, and everything else is answered.
func TestPullThroughHeldLayer(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 2, platforms: 1, layers: 4, size: 1 << 20, repository: "app", tags: "v1"})
	s := start(t, through(u))
	layer, release := want[1].Layers[1], make(chan struct{})
	s.manifest(t, "lab/app", want[1].Digest) // whose blobs are the repository's, so that nobody need ask
	u.spoil("GET /v2/app/blobs/"+layer.Digest, 1, hold(release))

	var half sync.WaitGroup
	var whole errgroup.Group
	for range 8 {
		half.Add(1)
		whole.Go(func() error { return s.inTwoParts(t, "lab/app", layer, half.Done) })
	}
	half.Wait()
	for _, d := range want {
		s.manifest(t, "lab/app", d.Digest)
		for _, b := range d.blobs() {
			if b.Digest != layer.Digest {
				s.blob(t, "lab/app", b)
			}
		}
	}
	s.manifest(t, "lab/app", "v1")
	close(release)
	if err := whole.Wait(); err != nil {
		t.Error(err)
	}
	u.once(t)
	s.checkKept(t)
}

// inTwoParts fetches a blob and calls first when the most of its first half is there.
func (s *server) inTwoParts(t *testing.T, repo string, want descriptor, first func()) error {
	var once sync.Once
	defer once.Do(first) // whoever waits for it need not wait for ever
	path := "/v2/" + repo + "/blobs/" + want.Digest
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if n, err := io.CopyN(&body, resp.Body, want.Size/4); err != nil {
		return fmt.Errorf("GET %s: %d bytes of a blob whose half is here: %w", path, n, err)
	}
	once.Do(first)
	if _, err := io.Copy(&body, resp.Body); err != nil {
		return fmt.Errorf("GET %s: after %d bytes: %w", path, body.Len(), err)
	}
	return same("the digest of "+path, textDigest(body.String()), want.Digest)
}

// There are three ways to name an image of a mirror, and the upstream is asked once for all of them.
func TestPullThroughByEveryName(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 3, platforms: 2, layers: 2, size: 1000, repository: "library/hello", tags: "latest v1"})
	s := start(t, options{Args: []string{"--demo", "--mirror", "docker.io=" + u.URL, "--mirror-listen", "docker.io=127.0.0.1:0"}})
	alone := s.mirrorAlone(t, "docker.io")
	for _, at := range []struct {
		server *server
		repo   string
	}{{s, "docker.io/library/hello"}, {s, "docker.io/hello"}, {alone, "library/hello"}, {alone, "hello"}} {
		for _, ref := range []string{"latest", want[0].Digest} {
			sameImage(t, at.repo, at.server.image(t, at.repo, ref), want)
		}
	}
	for _, host := range []string{"docker.io", u.Host} {
		for _, d := range want {
			s.namespaced(t, "library/hello", "manifests/"+d.Digest, host, http.StatusOK)
			for _, b := range d.blobs() {
				s.namespaced(t, "library/hello", "blobs/"+b.Digest, host, http.StatusOK)
			}
		}
	}
	u.once(t)
	s.namespaced(t, "library/hello", "manifests/latest", "quay.io", http.StatusNotFound)
	if got := s.manifest(t, "hello", "latest", ociIndex).Digest; got == want[0].Digest {
		t.Error("without a mirror's name hello is the mirror's, not this registry's own")
	}
	var list struct{ Tags []string }
	s.json(t, "/v2/docker.io/library/hello/tags/list", &list)
	if err := same("the tags", fmt.Sprint(list.Tags), "[latest v1]"); err != nil {
		t.Error(err)
	}
}

// Another nixreg is an upstream like any other: its digests stay what they are, with every encoding of its own.
func TestPullThroughNixreg(t *testing.T) {
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) {
			o := demo
			o.Args = slices.Concat(o.Args, e.args)
			origin := start(t, o)
			s := start(t, options{Args: []string{"--demo", "--mirror", "lab=" + origin.URL}})
			want := origin.image(t, "hello", "latest", accepts["oci"]...)
			sameImage(t, "through the mirror", s.image(t, "lab/hello", "latest", accepts["oci"]...), want)
			if got := s.target(t, "lab/hello", "latest").manifest; s.manifest(t, "lab/hello", "latest", ociManifest).Digest != got {
				t.Errorf("a client that takes no index does not get the image for amd64, %s", got)
			}
			s.checkKept(t)
		})
	}
}

// namespaced asks as containerd asks a mirror of a host, and expects a status.
func (s *server) namespaced(t *testing.T, repo, what, host string, want int) {
	t.Helper()
	path := "/v2/" + repo + "/" + what + "?ns=" + host
	if got := s.status(t, path); got != want {
		t.Errorf("GET %s: %d, want %d", path, got, want)
	}
}

// mirrorAlone is the address of a server that has one mirror and nothing else.
func (s *server) mirrorAlone(t *testing.T, name string) *server {
	t.Helper()
	var port string
	eventually(t, "the log says where the mirror is alone", func() bool {
		_, rest, ok := strings.Cut(s.log.String(), "serving the mirror of "+name+" alone on http://127.0.0.1:")
		port = rest[:max(0, strings.IndexAny(rest, `"`))]
		return ok && port != ""
	})
	return &server{URL: "http://127.0.0.1:" + port, Host: "localhost:" + port, Data: s.Data, log: s.log}
}

// A blob's size is known without its bytes.
func TestPullThroughColdHead(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 4, layers: 1, size: 200_000, repository: "app", tags: "v1"})
	s := start(t, through(u))
	s.manifest(t, "lab/app", "v1")
	for _, b := range want[0].blobs() {
		path := "/v2/lab/app/blobs/" + b.Digest
		resp, err := http.Head(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ContentLength != b.Size {
			t.Errorf("HEAD %s: %s, %d bytes; want %d", path, resp.Status, resp.ContentLength, b.Size)
		}
	}
	if n := u.count("GET /v2/app/blobs/"); n != 0 {
		t.Errorf("for a HEAD the upstream was asked for %d blobs", n)
	}
}

// A part of a blob comes before the whole is here.
func TestPullThroughColdRange(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 5, layers: 2, size: 200_000, repository: "app", tags: "v1"})
	s := start(t, through(u))
	s.manifest(t, "lab/app", "v1")
	layer, other, release := want[0].Layers[0], want[0].Layers[1], make(chan struct{})
	u.spoil("GET /v2/app/blobs/"+layer.Digest, 1, hold(release))

	resp := s.ranged(t, layer, "bytes=1000-90000", http.StatusPartialContent)
	defer resp.Body.Close()
	part := make([]byte, 89_001)
	if _, err := io.ReadFull(resp.Body, part[:64_000]); err != nil {
		t.Fatalf("a range whose bytes are here: %v", err)
	}
	close(release) // its last byte is held back until the whole blob is known to be right
	if _, err := io.ReadFull(resp.Body, part[64_000:]); err != nil {
		t.Fatal(err)
	}
	if whole := u.back.bytes(t, "/v2/app/blobs/"+layer.Digest); !bytes.Equal(part, whole[1000:90_001]) {
		t.Error("a range of a blob that was not here has other bytes than the upstream's")
	}
	behind := fmt.Sprintf("bytes=%d-", other.Size)
	s.ranged(t, other, behind, http.StatusRequestedRangeNotSatisfiable).Body.Close()
	sameImage(t, "after parts of it", s.image(t, "lab/app", "v1"), want)
	u.once(t)
	s.checkKept(t)
}

// ranged asks for a part of a blob of lab/app and expects a status; the caller closes the body.
func (s *server) ranged(t *testing.T, b descriptor, span string, want int) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v2/lab/app/blobs/"+b.Digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", span)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Errorf("%s of %s: %s, want %d", span, b.Digest, resp.Status, want)
	}
	return resp
}

// bytes are what is at a path.
func (s *server) bytes(t *testing.T, path string) []byte {
	t.Helper()
	resp := s.get(t, path)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return b
}

// checkKept looks at what a mirror has on disk once it is idle: every file has the digest it is named for, and nothing
// is half written. It returns the sum of their sizes.
func (s *server) checkKept(t *testing.T) (total int64) {
	t.Helper()
	dir := filepath.Join(s.Data, "mirror")
	eventually(t, "nothing is being written", func() bool {
		entries, err := os.ReadDir(filepath.Join(dir, "incoming"))
		return len(entries) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist))
	})
	err := filepath.WalkDir(filepath.Join(dir, "sha256"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		got, err := digestOf(file)
		if err != nil {
			return err
		}
		if got != "sha256:"+d.Name() {
			t.Errorf("%s has the digest %s", file, got)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return total
}

// code asks for a path that gives an error, and returns its status and the first code.
func (s *server) code(t *testing.T, path string) (int, string) {
	t.Helper()
	resp := s.get(t, path)
	defer resp.Body.Close()
	var e struct{ Errors []struct{ Code string } }
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || len(e.Errors) == 0 {
		t.Fatalf("GET %s: %s without an error in its body: %v", path, resp.Status, err)
	}
	return resp.StatusCode, e.Errors[0].Code
}
