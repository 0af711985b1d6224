package upstream_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/nixreg/nixreg/registry/upstream"
)

// Another implementation of a registry, on the loopback, with nothing of this package replaced.
func TestAnotherRegistry(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	defer s.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	host := strings.TrimPrefix(s.URL, "http://")
	image, err := random.Image(100_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/team/image:latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	r, err := upstream.New(upstream.Options{Name: host, AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Manifest(t.Context(), "team/image", "latest")
	if err != nil {
		t.Fatal(err)
	}
	head, err := r.Head(t.Context(), "team/image", d.Digest.String())
	if err != nil || head.Digest != d.Digest || head.MediaType != d.MediaType || head.Size != d.Size {
		t.Errorf("%+v, %v; want %+v", head, err, d)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range append(manifest.Layers, manifest.Config) {
		size, err := r.Stat(t.Context(), "team/image", l.Digest)
		if err != nil || size != l.Size {
			t.Errorf("%s: size %d, %v", l.Digest, size, err)
		}
		b, err := r.Blob(t.Context(), "team/image", l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		got, n, err := v1.SHA256(io.Reader(b))
		if b.Close(); err != nil || got != l.Digest || n != l.Size {
			t.Errorf("%s: got %s, %d bytes, %v", l.Digest, got, n, err)
		}
	}
	if tags, err := r.Tags(t.Context(), "team/image"); err != nil || !slices.Equal(tags, []string{"latest"}) {
		t.Errorf("%q, %v", tags, err)
	}
	if found, err := r.Referrers(t.Context(), "team/image", d.Digest); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, %v", found, err)
	}
}
