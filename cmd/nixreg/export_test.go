package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/manifest/export"
)

func TestExportIsNotForATerminal(t *testing.T) {
	for _, s := range []string{"-", "docker-archive:-"} {
		if err := new(exportOptions).complete(s, true); err == nil || !strings.Contains(err.Error(), "is a terminal") {
			t.Errorf("%s: %v", s, err)
		}
		if err := new(exportOptions).complete(s, false); err != nil {
			t.Errorf("%s, in a pipe: %v", s, err)
		}
	}
	for _, s := range []string{"docker-archive:x", "oci:x", "docker://x"} {
		if err := new(exportOptions).complete(s, true); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestExportAdvice(t *testing.T) {
	push := export.Destination{Transport: export.Docker, Path: "h.example/a:1"}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for want, c := range map[string]struct {
		ctx context.Context
		to  export.Destination
		err error
	}{
		"":                                     {t.Context(), push, nil},
		"interrupted":                          {ended, push, errors.New("x")},
		"(--force replaces it)":                {t.Context(), export.Destination{Transport: export.DockerArchive}, fs.ErrExist},
		"credentials: docker login h.example)": {t.Context(), push, fs.ErrPermission},
		"(--tls-verify=false does without)":    {t.Context(), push, errors.New("x509: unknown")},
	} {
		o := &exportOptions{Export: server.Export{To: c.to}, tlsVerify: true}
		err := o.advise(c.ctx, c.err)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("advice is %v, want %s", err, want)
		}
	}
}

// exporting runs a command with the demo's images.
func exporting(t *testing.T, args ...string) (status int, stderr string) {
	t.Helper()
	var out bytes.Buffer
	p := &program{
		args: append([]string{"export", "--demo"}, args...), lookupEnv: func(string) (string, bool) { return "", false },
		stdout: io.Discard, stderr: &out,
	}
	return run(t.Context(), p), out.String()
}

// What is pushed is what serve gives: an index with all platforms, or one of its images.
func TestExportToARegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // not that of the user who runs the test
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	for _, to := range []string{"docker://" + host + "/hello:all", "oci:" + filepath.Join(dir, "all")} {
		if status, stderr := exporting(t, "--all", "hello", to); status != 0 || stderr != "" {
			t.Fatalf("%s: status %d: %s", to, status, stderr)
		}
	}
	tag, err := name.NewTag(host + "/hello:all")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("index has %v, %v", m, err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "all", "index.json"))
	if err != nil || !bytes.Contains(b, []byte(digest.String())) {
		t.Errorf("the layout has not %s: %s, %v", digest, b, err)
	}
	if status, stderr := exporting(t, "--platform", "linux/arm64", "hello@"+digest.String(), "docker://"+host+"/hello:arm64"); status != 0 {
		t.Fatal(stderr)
	}
	if got, err := remote.Head(tag.Tag("arm64")); err != nil || got.Digest != m.Manifests[1].Digest {
		t.Errorf("the image for arm64 is %v, %v; want %s", got, err, m.Manifests[1].Digest)
	}
}

// A digest is that of an image with encoded layers; in an archive they are plain.
func TestExportOfEncodedLayersByDigest(t *testing.T) {
	dir := t.TempDir()
	status, stderr := exporting(t, "--layer-encoding", "gzip", "hello", "oci:"+filepath.Join(dir, "layout"))
	if status != 0 {
		t.Fatal(stderr)
	}
	b, err := os.ReadFile(filepath.Join(dir, "layout", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	digest := regexp.MustCompile("sha256:[0-9a-f]{64}").FindString(string(b))
	var archives [][]byte
	for _, image := range []string{"hello@" + digest, "hello"} {
		file := filepath.Join(dir, "hello.tar")
		status, stderr := exporting(t, "--layer-encoding", "gzip", "--force", image, "docker-archive:"+file+":x:y")
		if status != 0 {
			t.Fatal(stderr)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, b)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the archives are not the same")
	}
}
