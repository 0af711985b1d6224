package conformance_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReadyImages lets other programs write images in all the ways they know, and clients pull them: as docker load has
// them, with the same ID.
func TestReadyImages(t *testing.T) {
	endToEnd(t)
	c := newContainers(t)
	dir := t.TempDir()
	ids := writeReady(t, c.skopeo, dir)
	operations := slices.DeleteFunc(slices.Concat(
		dockerOperations(debian(t, "docker")), containersOperations(c), containerdOperations(startContainerd(t)),
	), func(op operation) bool {
		return !slices.Contains([]string{"docker pull, run", "podman pull, run", "containerd CRI pull"}, op.client+" "+op.name)
	})
	if len(operations) != 3 {
		t.Fatalf("%d operations", len(operations))
	}
	s := start(t, options{Args: []string{"--demo", "--images", dir}})
	for name, id := range ids {
		i := s.target(t, name, "v1")
		i.says = "Hello from nixreg!"
		if i.config != id {
			t.Errorf("%s has the ID %s, docker load says %s", name, i.config, id)
		}
		s.image(t, name, "latest", accepts["oci"]...)
		for _, op := range operations {
			t.Run(name+"/"+op.client, func(t *testing.T) {
				if verdict := op.try(t, encoding{name: "tar"}, i); verdict != "" && verdict != "pass" {
					t.Error(verdict)
				}
			})
		}
	}
	if platforms := s.manifest(t, "platforms", "v1", accepts["oci"]...); len(platforms.Manifests) != 2 {
		t.Errorf("the layout of two platforms has %d", len(platforms.Manifests))
	}
}

// writeReady writes the demo's image into dir, in files and directories of all kinds, and returns the ID that docker load
// gives each.
func writeReady(t *testing.T, skopeo program, dir string) map[string]string {
	t.Helper()
	s := start(t, demo)
	image := "docker://" + s.Host + "/hello:latest"
	work := t.TempDir()
	do := func(p program, args ...string) {
		t.Helper()
		if _, err := p.run(t.Context(), work, args...); err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(dir, "archive.tar")
	do(skopeo, "copy", "--quiet", "--src-tls-verify=false", image, "docker-archive:"+archive+":example.com/ready:v1")
	do(skopeo, "copy", "--quiet", "--src-tls-verify=false", image, "oci:"+filepath.Join(dir, "layout")+":v1")
	do(skopeo, "copy", "--quiet", "--src-tls-verify=false", "--all", image, "oci:"+filepath.Join(dir, "platforms")+":v1")
	do(program{path: "sh"}, "-c", "gzip -n <"+archive+" >"+filepath.Join(dir, "gzipped.tar.gz"))
	do(debian(t, "zstd"), "-q", archive, "-o", filepath.Join(dir, "zstandard.tar.zst"))
	id := loaded(t, archive, "example.com/ready:v1")
	ids := map[string]string{"archive": id, "gzipped": id, "zstandard": id}

	// buildLayeredImage is a stream script and gzip; that an export is what the script writes is held by the golden vectors.
	layered := filepath.Join(dir, "layered.tar.gz")
	do(program{path: "sh"}, "-c", binary+" export --demo hello docker-archive:-:example.com/layered:v1 | gzip -n >"+layered)
	ids["layered"] = loaded(t, layered, "example.com/layered:v1")

	pull(t, s.Host+"/hello")
	docker(t, "tag", s.Host+"/hello", "example.com/saved:v1")
	docker(t, "save", "--output", filepath.Join(dir, "saved.tar"), "example.com/saved:v1")
	docker(t, "image", "rm", "example.com/saved:v1")
	ids["saved"] = loaded(t, filepath.Join(dir, "saved.tar"), "example.com/saved:v1")

	// Docker 20.10 loads no layout: what it loads is the layout's archive.
	again := filepath.Join(work, "again.tar")
	for _, name := range []string{"layout", "platforms"} {
		do(skopeo, "copy", "--quiet", "oci:"+filepath.Join(dir, name)+":v1", "docker-archive:"+again+":example.com/again:v1")
		ids[name] = loaded(t, again, "example.com/again:v1")
		if err := os.Remove(again); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// loaded is the ID that docker load gives an image; the image is removed again.
func loaded(t *testing.T, file, image string) string {
	t.Helper()
	docker(t, "load", "--quiet", "--input", file)
	defer program{path: "docker"}.undo(context.WithoutCancel(t.Context()), "image", "rm", "--force", image)
	return inspect(t, image).ID
}

// TestReadyImageIsChecked: an archive that does not hold what it says is refused, with a reason, and so is what takes its
// place while it is served.
func TestReadyImageIsChecked(t *testing.T) {
	dir := t.TempDir()
	const notGzip = "\x1f\x8bnot gzip"
	for name, text := range map[string]string{"broken.tar.gz": notGzip, "next": notGzip} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sound := filepath.Join(dir, "sound.tar")
	nixregExport(t, "--demo", "hello", "docker-archive:"+sound)
	s := start(t, options{Args: []string{"--demo", "--images", dir}})
	if text := s.reason(t, "/v2/broken/manifests/latest"); !strings.Contains(text, "broken") {
		t.Errorf("the reason is %q", text)
	}
	m := s.manifest(t, "sound", "latest", accepts["oci"]...)
	if err := os.Rename(filepath.Join(dir, "next"), sound); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v2/sound/blobs/" + m.Layers[0].Digest, "/v2/sound/manifests/latest"} {
		s.reason(t, path)
	}
}

// reason asks for what cannot be served, and returns the reason.
func (s *server) reason(t *testing.T, path string) string {
	t.Helper()
	resp := s.get(t, path, accepts["oci"]...)
	defer resp.Body.Close()
	var body struct {
		Errors []struct{ Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != 404 || len(body.Errors) == 0 {
		t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return body.Errors[0].Message
}
