package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
)

// The first pull asks for each thing once, the next ones for nothing, even of a new process without an upstream.
func TestPull(t *testing.T) {
	f := newFixture(t)
	m, config, layer := f.hub.image("team/app", "v1", "app")
	top := f.hub.index("team/app", "latest", map[string]v1.Hash{"amd64": m})
	everything := func() {
		t.Helper()
		mustPull(t, f, "team/app", "latest", top)
		mustPull(t, f, "team/app", top.String(), top)
		mustPull(t, f, "team/app", m.String(), m)
		mustRead(t, f, "team/app", config, `{"os":"linux","text":"app"}`)
		mustRead(t, f, "team/app", layer, "layer of app")
	}
	everything()
	wantRequests(t, f, "GET team/app/manifests/latest", "GET team/app/manifests/"+m.String(), "GET team/app/blobs/"+config.String(), "GET team/app/blobs/"+layer.String())
	everything()
	wantRequests(t, f)
	f.hub.Close()
	f.restart(t)
	everything()
}

// A crowd that wants the same causes one request for each thing.
func TestCrowd(t *testing.T) {
	f := newFixture(t)
	m, config, layer := f.hub.image("app", "latest", "app")
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.hub.fail(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(arrived) })
		<-release
		return false
	})
	var crowd errgroup.Group
	for range 100 {
		crowd.Go(func() error {
			d, _, err := f.pull(t, "app", "latest")
			if err != nil || d.Digest != m {
				return fmt.Errorf("got %v, %v", d, err)
			}
			if s, err := f.read(t, "app", config); err != nil || s != `{"os":"linux","text":"app"}` {
				return fmt.Errorf("config: %q, %v", s, err)
			}
			if s, err := f.read(t, "app", layer); err != nil || s != "layer of app" {
				return fmt.Errorf("layer: %q, %v", s, err)
			}
			return nil
		})
	}
	<-arrived
	close(release)
	if err := crowd.Wait(); err != nil {
		t.Fatal(err)
	}
	wantRequests(t, f, "GET app/manifests/latest", "GET app/blobs/"+config.String(), "GET app/blobs/"+layer.String())
}

// Who leaves ends no question that others wait for, and Close ends all.
func TestLeaving(t *testing.T) {
	f := newFixture(t)
	m, _, _ := f.hub.image("app", "latest", "app")
	arrived, release := make(chan struct{}), make(chan struct{})
	f.hub.fail(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	})
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error)
	ask := func(ctx context.Context) error {
		_, err := f.Manifest(ctx, registry.Request{Repository: "app", Tag: "latest", Accept: everything})
		return err
	}
	go func() { left <- ask(leaving) }()
	<-arrived
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	stayed := make(chan error)
	go func() { stayed <- ask(t.Context()) }()
	release <- struct{}{}
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	f.hub.fail(nil)
	mustPull(t, f, "app", "latest", m)
	wantRequests(t, f, "GET app/manifests/latest")

	f.hub.fail(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	})
	go func() {
		_, err := f.Manifest(t.Context(), registry.Request{Repository: "other", Tag: "latest", Accept: everything})
		left <- err
	}()
	<-arrived
	f.Close()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("after Close: %v", err)
	}
	close(release)
	if err := ask(t.Context()); err != nil {
		t.Errorf("what is kept, after Close: %v", err)
	}
}

// A repository gives its own blobs alone: that a blob is here for another one proves nothing.
func TestBlobsOfAnotherRepository(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("secret", "latest", "secret")
	mustPull(t, f, "secret", "latest", m)
	mustRead(t, f, "secret", layer, "layer of secret")
	f.hub.requests()
	checkStatus(t, "blob", second(f.read(t, "public", layer)), 404)
	checkStatus(t, "manifest", errorOf(f.pull(t, "public", m.String())), 404)
	wantRequests(t, f, "HEAD public/blobs/"+layer.String(), "GET public/manifests/"+m.String())

	f.hub.image("public", "", "secret") // the same content is there, too
	f.clock.move(absentFor)
	mustRead(t, f, "public", layer, "layer of secret")
	mustRead(t, f, "public", layer, "layer of secret")
	wantRequests(t, f, "HEAD public/blobs/"+layer.String())
}

// A document is not served as a blob, nor a blob as a document, whatever is kept under the digest.
func TestKinds(t *testing.T) {
	f := newFixture(t)
	m, config, _ := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	mustRead(t, f, "app", config, `{"os":"linux","text":"app"}`)
	checkStatus(t, "config as a manifest", errorOf(f.pull(t, "app", config.String())), 404)
	checkStatus(t, "manifest as a blob", second(f.read(t, "app", m)), 404)
}

// By tag a client gets what it accepts: the index, or else the image for linux/amd64; never another type of the same.
func TestNegotiation(t *testing.T) {
	f := newFixture(t)
	arm, _, _ := f.hub.image("app", "", "arm")
	amd, _, _ := f.hub.image("app", "", "amd")
	index := f.hub.index("app", "latest", map[string]v1.Hash{"amd64": amd, "arm64": arm})
	onlyArm := f.hub.index("app", "arm", map[string]v1.Hash{"arm64": arm})
	for _, c := range []struct {
		tag    string
		accept types.MediaType
		want   v1.Hash
	}{
		{"latest", types.OCIImageIndex, index},
		{"latest", types.OCIManifestSchema1, amd},
		{"latest", types.DockerManifestSchema2, v1.Hash{}},
		{"arm", types.OCIImageIndex, onlyArm},
		{"arm", types.OCIManifestSchema1, v1.Hash{}},
	} {
		accept := func(offers ...types.MediaType) (types.MediaType, bool) {
			return c.accept, slices.Contains(offers, c.accept)
		}
		d, err := f.Manifest(t.Context(), registry.Request{Repository: "app", Tag: c.tag, Accept: accept})
		if c.want == (v1.Hash{}) {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s as %s: %v, want that it is not supported", c.tag, c.accept, err)
			}
		} else if err != nil || d.Digest != c.want || d.MediaType != c.accept {
			t.Errorf("%s as %s: %v, %v; want %s", c.tag, c.accept, d, err, c.want)
		}
	}
}

// What is no manifest is not served, although its digest is right.
func TestMalformedDocuments(t *testing.T) {
	f := newFixture(t)
	f.hub.mu.Lock()
	f.hub.document("app", "text", "text/html", "<html>log in</html>")
	f.hub.document("app", "type", "application/json", `{"schemaVersion":2}`)
	f.hub.document("app", "list", types.OCIImageIndex, `[]`)
	good := f.hub.document("app", "file", "text/plain", fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, types.OCIImageIndex))
	f.hub.mu.Unlock()
	for _, tag := range []string{"text", "list"} {
		checkStatus(t, tag, errorOf(f.pull(t, "app", tag)), 502)
	}
	if err := errorOf(f.pull(t, "app", "type")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("type: %v, want that it is not supported", err)
	}
	d, _, err := f.pull(t, "app", "file")
	if err != nil || d.Digest != good || d.MediaType != types.OCIImageIndex {
		t.Errorf("a server of files: %v, %v", d, err)
	}
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	m, _, _ := f.hub.image("app", "latest", "app")
	f.hub.tags["app"] = []string{"v2", "latest", "v1", "v1"}
	sig := f.hub.index("app", "sha256-"+m.Hex, map[string]v1.Hash{"amd64": m})
	for range 2 {
		tags, err := f.Tags(t.Context(), "app")
		if err != nil || strings.Join(tags, " ") != "latest v1 v2" {
			t.Errorf("tags %q, %v", tags, err)
		}
		refs, err := f.Referrers(t.Context(), "app", m)
		if err != nil || len(refs) != 1 || refs[0].Digest != m {
			t.Errorf("referrers %v, %v; want those of %s", refs, err, sig)
		}
	}
	for k, n := range f.hub.requests() {
		if n != 1 {
			t.Errorf("%s: %d times", k, n)
		}
	}
	f.clock.move(defaultTTL)
	f.hub.Close()
	if tags, err := f.Tags(t.Context(), "app"); err != nil || len(tags) != 3 {
		t.Errorf("without upstream: tags %q, %v", tags, err)
	}
	if _, err := f.Repositories(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("repositories: %v", err)
	}
}

// What a manifest says of a blob's size is not proof: the digest is.
func TestWrongSizeInAManifest(t *testing.T) {
	f := newFixture(t)
	m, config, layer := f.hub.image("app", "good", "app")
	mustPull(t, f, "app", "good", m)
	f.hub.mu.Lock()
	data := strings.Replace(f.hub.docs["app:good"].data, fmt.Sprintf(`"size":%d}]`, len("layer of app")), `"size":99}]`, 1)
	bad := f.hub.document("app", "bad", types.OCIManifestSchema1, data)
	f.hub.mu.Unlock()
	if bad == m {
		t.Fatal("the two are equal")
	}
	mustPull(t, f, "app", "bad", bad)
	mustRead(t, f, "app", layer, "layer of app")
	f.restart(t)
	mustPull(t, f, "app", "bad", bad)
	mustRead(t, f, "app", layer, "layer of app")
	mustRead(t, f, "app", config, `{"os":"linux","text":"app"}`)
}

// Without room to keep anything, a manifest is still asked for once.
func TestNothingKept(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		cache, err := blobs.Open(blobs.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		c.Blobs = cache
	})
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	wantRequests(t, f, "GET app/manifests/latest")
	mustPull(t, f, "app", m.String(), m)
	mustRead(t, f, "app", layer, "layer of app")
}

// Records that are lost cost questions, never the image.
func TestLostRecords(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	mustRead(t, f, "app", layer, "layer of app")
	f.c.Records = new(memory)
	f.restart(t)
	mustRead(t, f, "app", layer, "layer of app")
	mustPull(t, f, "app", m.String(), m)
	mustPull(t, f, "app", "latest", m)
}
