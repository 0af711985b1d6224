package conformance_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const greets = "Hello, world!\n"

// pullBuilt pulls an image of what is not built yet, and runs it.
func (s *server) pullBuilt(t *testing.T, n ownNix, repo, name string, command ...string) {
	t.Helper()
	if found := n.named(t, name); len(found) > 0 {
		t.Fatalf("%s is built already: %q", name, found)
	}
	pull(t, s.Host+"/"+repo)
	if len(n.named(t, name)) != 1 {
		t.Errorf("after the pull of %s there is no %s in the store", repo, name)
	}
	if got := run(t, s.Host+"/"+repo, command...); got != greets {
		t.Errorf("%s says %q", repo, got)
	}
}

// What is not built yet is built when Docker pulls it, alone or beside a package that is there, and it is the same image as
// one that was found in the store.
func TestBuildsOnPull(t *testing.T) {
	endToEnd(t)
	for kind, o := range map[string]options{"file": byFile, "flake": byFlake} {
		t.Run(kind, func(t *testing.T) {
			n := newNix(t, "hello")
			s := n.start(t, o)
			s.pullBuilt(t, n, "greeting", "greeting-1.5")
			s.pullBuilt(t, n, "gnupackages.salute", "salute-2.0")
			s.pullBuilt(t, n, "hello/noisy", "noisy-1.0", "noisy")
			if got := run(t, s.Host+"/hello/noisy", "hello"); got != greets {
				t.Errorf("hello beside it says %q", got)
			}
			if size := len(s.log.String()); size > 100e3 {
				t.Errorf("the log has %d bytes, of a builder that wrote a megabyte", size)
			}
			if s.builds() != 3 || n.begun(t, "greeting-1.5") != 1 {
				t.Errorf("%d builds were begun, greeting was built %d times", s.builds(), n.begun(t, "greeting-1.5"))
			}

			found := n.start(t, options{})
			for built, inStore := range map[string]string{"greeting": "greeting", "gnupackages.salute": "salute", "hello/noisy": "hello/noisy"} {
				got, want := s.manifest(t, built, "latest", ociManifest).Digest, found.manifest(t, inStore, "latest", ociManifest).Digest
				if got != want {
					t.Errorf("%s built is %s, found in the store %s", built, got, want)
				}
			}
		})
	}
}

// Who asks for a shell gets an interactive one, whether it has to be built or not.
func TestBuildsShell(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFile)
	for range 2 {
		image := s.Host + "/shell/greeting"
		pull(t, image)
		out := docker(t, "run", "--rm", "-i", "--network", "none", image, "bash", "-ic", "echo $-; uname; greeting")
		if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.Contains(lines[0], "i") || lines[1] != "Linux" || lines[2]+"\n" != greets {
			t.Errorf("the shell says %q", out)
		}
		if cmd := inspect(t, image).Config.Cmd; len(cmd) != 1 || filepath.Base(cmd[0]) != "bash" {
			t.Errorf("the image's command is %q", cmd)
		}
		s = n.start(t, options{}) // now it is in the store
	}
	if n.begun(t, "greeting-1.5") != 1 {
		t.Error("greeting was built twice")
	}
	m := s.manifest(t, "shell", "latest", ociManifest)
	if len(m.Layers) == 0 || m.Digest == s.manifest(t, "shell/greeting", "latest", ociManifest).Digest {
		t.Errorf("the shell alone is %+v", m)
	}
}

// An attribute that is an image, by its script or by its conf.json, is that image: its layers are those of the conf.json.
func TestBuildsWholeImages(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFlake)
	s.pullBuilt(t, n, "images.web", "web-conf.json")
	pull(t, s.Host+"/images.web:v1")
	conf := n.named(t, "web-conf.json")[0]

	dir := t.TempDir()
	if err := os.Symlink(conf, filepath.Join(dir, "web.json")); err != nil {
		t.Fatal(err)
	}
	want := n.start(t, options{Args: []string{"--images", dir}}).manifest(t, "web", "latest", ociManifest)
	for _, ref := range [][2]string{{"images.web", "latest"}, {"images.web", "v1"}, {"images.conf", "latest"}} {
		m := s.image(t, ref[0], ref[1], ociManifest)[0]
		if m.Config.Digest != want.Config.Digest || !slices.Equal(digests(m.Layers), digests(want.Layers)) {
			t.Errorf("%s:%s is %+v, want %+v", ref[0], ref[1], m, want)
		}
	}
	if got := inspect(t, s.Host+"/images.web").ID; got != want.Config.Digest {
		t.Errorf("image ID %s, want %s", got, want.Config.Digest)
	}
	if got := s.status(t, "/v2/images.web/manifests/v2"); got != http.StatusNotFound {
		t.Errorf("a tag that it does not have: %d", got)
	}
}

// A definition may be made of what has to be built first; nothing is built before the image is asked for.
func TestBuildsContentsOfDefinitions(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	file := yamlFile(t, "name: defined\ncontents: [hello, greeting, gnupackages.salute]\nconfig: {Cmd: [/bin/salute]}\n")
	s := n.start(t, byFile.with("--images", file))
	if s.builds() != 0 {
		t.Errorf("%d builds began when the server did", s.builds())
	}
	s.pullBuilt(t, n, "defined", "salute-2.0")
	if got := run(t, s.Host+"/defined", "greeting"); got != greets {
		t.Errorf("greeting says %q", got)
	}
}

// Only a request for an image builds: HEAD builds what GET would, and lists of tags, names that are none and blobs nothing.
func TestBuildsOnlyWhatIsAskedFor(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFile)
	var tags struct{ Tags []string }
	s.json(t, "/v2/greeting/tags/list", &tags)
	if !slices.Equal(tags.Tags, []string{"latest"}) {
		t.Errorf("tags %q", tags.Tags)
	}
	digest := "sha256:" + strings.Repeat("5", 64)
	for _, path := range []string{
		"/v2/absent/manifests/latest", "/v2/greeting.absent/manifests/latest", "/v2/gnupackages/manifests/latest", "/v2/greeting/manifests/2.0",
		"/v2/greeting/blobs/" + digest, "/v2/greeting/manifests/" + digest, "/v2/default.nix/manifests/latest", "/v2/greeting/absent/manifests/latest",
	} {
		if got := s.status(t, path); got != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, got)
		}
	}
	if s.builds() != 0 || n.begun(t, "greeting-1.5") != 0 {
		t.Errorf("%d builds began, though nobody asked for an image that there is", s.builds())
	}

	resp, err := http.Head(s.URL + "/v2/greeting/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	m := s.manifest(t, "greeting", "latest")
	if got := resp.Header.Get("Docker-Content-Digest"); resp.StatusCode != http.StatusOK || got != m.Digest {
		t.Errorf("HEAD: %s, %q; GET has %s", resp.Status, got, m.Digest)
	}
	if s.builds() != 1 || n.begun(t, "greeting-1.5") != 1 {
		t.Errorf("%d builds for HEAD and GET", s.builds())
	}
}
