package conformance_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What was pulled once is there without the upstream, by tag and by digest, in the next process too.
func TestPullThroughWithoutTheUpstream(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	want := u.push(t, shape{seed: 10, platforms: 2, layers: 3, size: 50_000, repository: "app", tags: "v1"})
	o := through(u)
	s := start(t, o)
	sameImage(t, "through the mirror", s.image(t, "lab/app", "v1"), want)
	u.stop()
	for range 2 {
		sameImage(t, "by tag, without the upstream", s.image(t, "lab/app", "v1"), want)
		sameImage(t, "by digest, without the upstream", s.image(t, "lab/app", want[0].Digest), want)
		s.checkKept(t)
		s.stop(t)
		o.Data = s.Data
		s = start(t, o)
	}
	if code, text := s.code(t, "/v2/lab/other/manifests/v1"); code != http.StatusBadGateway || text != "UNAVAILABLE" {
		t.Errorf("what was never pulled: %d %s, want 502 UNAVAILABLE", code, text)
	}
	if got := s.status(t, "/v2/hello/manifests/latest"); got != http.StatusOK {
		t.Errorf("nixreg's own image while the upstream is down: %d", got)
	}
}

// A kill at any moment of the first pull leaves no half blob that is taken for a whole one, and nothing that stays.
func TestPullThroughKilled(t *testing.T) {
	moments := map[string]func(t *testing.T, u *upstream, s *server, want []document){
		"at once": func(_ *testing.T, _ *upstream, s *server, _ []document) {
			go ask(s.URL + "/v2/lab/app/manifests/v1")
		},
		"after the index": func(t *testing.T, _ *upstream, s *server, _ []document) {
			s.manifest(t, "lab/app", "v1")
		},
		"in the midst of a layer": func(t *testing.T, u *upstream, s *server, want []document) {
			layer := want[1].Layers[1].Digest
			u.spoil("GET /v2/app/blobs/"+layer, 1, hold(nil))
			s.manifest(t, "lab/app", want[1].Digest)
			s.blob(t, "lab/app", want[1].Layers[0])
			go ask(s.URL + "/v2/lab/app/blobs/" + layer)
			eventually(t, "a part of the layer is on disk", func() bool { return s.growing(t) > 0 })
		},
		"after the last blob": func(t *testing.T, _ *upstream, s *server, _ []document) {
			s.image(t, "lab/app", "v1")
		},
	}
	for name, until := range moments {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			want := u.push(t, shape{seed: 11, platforms: 1, layers: 3, size: 1 << 20, repository: "app", tags: "v1"})
			o := through(u)
			s := start(t, o)
			until(t, u, s, want)
			s.kill()
			u.heal()
			o.Data = s.Data
			again := start(t, o)
			if n := again.growing(t); n != 0 {
				t.Errorf("after kill -9 %d bytes of half blobs are left", n)
			}
			again.checkKept(t)
			sameImage(t, "after kill -9", again.image(t, "lab/app", "v1"), want)
			again.checkKept(t)
		})
	}
}

// growing is how many bytes a mirror has of blobs that are not whole.
func (s *server) growing(t *testing.T) (n int64) {
	t.Helper()
	dir := filepath.Join(s.Data, "mirror", "incoming")
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // it may have got its name in the meantime
			n += info.Size()
		}
	}
	return n
}

// A file that was changed while nobody looked is found out, and fetched again.
func TestPullThroughDamagedFile(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 12, platforms: 1, layers: 2, size: 300_000, repository: "app", tags: "v1"})
	o := through(u)
	s := start(t, o)
	s.image(t, "lab/app", "v1")
	s.checkKept(t)
	s.stop(t)
	layer, other := want[1].Layers[0], want[1].Layers[1]
	damage(t, s.keptFile(layer), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	damage(t, s.keptFile(other), func(b []byte) []byte { return b[:len(b)/2] })

	o.Data = s.Data
	s = start(t, o)
	for _, l := range []descriptor{layer, other} {
		eventually(t, "the layer is whole again", func() bool { // the first client may be cut when the damage is seen
			err := fetchBlob(t.Context(), http.DefaultClient, s.URL+"/v2/lab/app/blobs/"+l.Digest, l)
			return err == nil
		})
	}
	sameImage(t, "after the damage", s.image(t, "lab/app", "v1"), want)
	s.checkKept(t)
}

// keptFile is where a mirror keeps a blob.
func (s *server) keptFile(d descriptor) string {
	hex := strings.TrimPrefix(d.Digest, "sha256:")
	return filepath.Join(s.Data, "mirror", "sha256", hex[:2], hex)
}

func damage(t *testing.T, file string, edit func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, edit(b), 0o600); err != nil {
		t.Fatal(err)
	}
}
