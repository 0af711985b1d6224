package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// Wrong bytes are no answer, and nothing of them stays.
func TestWrongBytes(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	lie := func(w http.ResponseWriter, r *http.Request) bool {
		send(w, string(types.OCIManifestSchema1), "layer of lie")
		return true
	}
	f.hub.fail(lie)
	checkStatus(t, "manifest", errorOf(f.pull(t, "app", m.String())), 502)
	f.hub.fail(nil)
	f.clock.move(downFor)
	mustPull(t, f, "app", m.String(), m)
	f.hub.fail(lie)
	if s, err := f.read(t, "app", layer); err == nil || s == "layer of lie" {
		t.Errorf("blob: %q, %v", s, err)
	}
	f.hub.fail(nil)
	mustRead(t, f, "app", layer, "layer of app")
}

// A full disk is a bad hour of the mirror's own, which clients are told.
func TestFullDisk(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		checkStatusOnly(t, answering{failing{full}}.WriteRange(t.Context(), nil, 0, 1), 503)
	}
}

// failing is a blob that cannot be had.
type failing struct{ error }

func (failing) Size() int64 { return 1 }

func (f failing) WriteRange(context.Context, io.Writer, int64, int64) error {
	return fmt.Errorf("blob: %w", f.error)
}

// Credentials that cannot be read are the mirror's own bad hour: what is kept is served, and nobody is told more.
func TestUnreadableCredentials(t *testing.T) {
	f := newFixture(t)
	m, _, _ := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	f.hub.failWith(401, "WWW-Authenticate", `Basic realm="hub"`)
	up, err := upstream.New(upstream.Options{Name: "lab", URL: f.hub.URL, Keychain: locked{}, Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	f.c.Upstream = up
	f.restart(t)
	f.clock.move(defaultTTL)
	if d, warnings, err := f.pull(t, "app", "latest"); err != nil || d.Digest != m || len(warnings) != 1 {
		t.Errorf("what is kept: %v, %q, %v", d, warnings, err)
	}
	var s *registry.StatusError
	err = errorOf(f.pull(t, "app", "other"))
	if !errors.As(err, &s) || s.Status != 502 || strings.Contains(s.Text, "secret") || !strings.Contains(s.Err.Error(), "no helper for the secret") {
		t.Errorf("what is not: %+v", s)
	}
}

// locked is a keychain that cannot be read.
type locked struct{}

func (locked) Resolve(authn.Resource) (authn.Authenticator, error) {
	return nil, errors.New("no helper for the secret")
}

// Who asks for what is not mirrored, or cannot take it, is told so: these texts have nothing but names and types.
func TestTextsForEverybody(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Allow = []string{"app"} })
	f.hub.image("app", "latest", "app")
	f.hub.mu.Lock()
	f.hub.document("app", "type", "application/json", `{"schemaVersion":2}`)
	f.hub.mu.Unlock()
	nothing := func(...types.MediaType) (types.MediaType, bool) { return "", false }
	_, unaccepted := f.Manifest(t.Context(), registry.Request{Repository: "app", Tag: "latest", Accept: nothing})
	for want, err := range map[string]error{
		"lab/other is not among what is mirrored here": errorOf(f.pull(t, "other", "latest")),
		"which the client does not accept":             unaccepted,
		"which is not mirrored":                        errorOf(f.pull(t, "app", "type")),
		"lab: app:absent: 404 Not Found":               errorOf(f.pull(t, "app", "absent")),
		"something else than was asked for":            answer(fmt.Errorf("blob x: %w", blobs.ErrContent)),
	} {
		var p interface{ Public() string }
		if !errors.As(err, &p) || !strings.Contains(p.Public(), want) {
			t.Errorf("%v is for everybody %v, want %q", err, p, want)
		}
	}
}
