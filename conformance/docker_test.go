package conformance_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// docker runs the Docker client and returns what it prints. Without client or engine the test fails.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, nil, "docker", args...)
}

// pull pulls an image and removes it again at the end of the test.
func pull(t *testing.T, image string) {
	t.Helper()
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.Background(), "docker", "image", "rm", "--force", image).CombinedOutput()
		if err != nil {
			t.Errorf("docker image rm %s: %v\n%s", image, err, out)
		}
	})
	docker(t, "pull", "--quiet", image)
}

// run runs an image that was pulled, without any network.
func run(t *testing.T, image string, command ...string) string {
	t.Helper()
	return docker(t, append([]string{"run", "--rm", "--network", "none", image}, command...)...)
}

// inspected is what Docker knows of an image.
type inspected struct {
	ID     string `json:"Id"`
	RootFS struct{ Layers []string }
	Config struct {
		Cmd []string
		Env []string
	}
}

func inspect(t *testing.T, image string) inspected {
	t.Helper()
	var all []inspected
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", image)), &all); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// export yields the files of an image as a container would see them. Docker adds some of its own (/dev, /etc/hosts …).
func export(t *testing.T, image string, yield func(*tar.Header, io.Reader)) {
	t.Helper()
	id := strings.TrimSpace(docker(t, "create", "--network", "none", image, "none"))
	defer docker(t, "rm", "--force", id)
	program{path: "docker"}.entries(t, yield, "export", id)
}

func TestDockerPullsAndRunsTheDemo(t *testing.T) {
	endToEnd(t)
	s := start(t, demo)
	image := s.Host + "/hello"
	pull(t, image)
	if got := run(t, image); !strings.HasPrefix(got, "Hello") {
		t.Errorf("the demo says %q, want a greeting", got)
	}
}

func TestDockerPullsAndRunsHello(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	s := start(t, local)
	image := s.Host + "/hello"
	pull(t, image)
	if got := run(t, image); got != "Hello, world!\n" {
		t.Errorf("hello says %q", got)
	}
	if n := len(inspect(t, image).RootFS.Layers); n != 6 {
		t.Errorf("hello has %d layers, want five store paths and one of symlinks", n)
	}
	for _, name := range []string{"hello:" + version(hello), "hello:" + hash(hello), "store/" + hash(hello)} {
		other := s.Host + "/" + name
		pull(t, other)
		if got := run(t, other); got != "Hello, world!\n" {
			t.Errorf("%s says %q", name, got)
		}
	}
}

func TestSeveralPackagesInOneImage(t *testing.T) {
	endToEnd(t)
	helloPath(t)
	s := start(t, local)
	image := s.Host + "/hello/libidn2"
	pull(t, image)
	if got := run(t, image, "hello"); got != "Hello, world!\n" {
		t.Errorf("hello says %q", got)
	}
	var top []string
	export(t, image, func(h *tar.Header, _ io.Reader) {
		if name := strings.TrimSuffix(h.Name, "/"); name == "bin/hello" || name == "lib/libidn2.so.0" {
			top = append(top, name)
		}
	})
	slices.Sort(top)
	if !slices.Equal(top, []string{"bin/hello", "lib/libidn2.so.0"}) {
		t.Errorf("of the two packages the image links %q only", top)
	}
	one, other := s.manifest(t, "hello/libidn2", "latest"), s.manifest(t, "libidn2/hello", "latest")
	if one.Layers[len(one.Layers)-1].Digest != other.Layers[len(other.Layers)-1].Digest {
		t.Error("hello/libidn2 and libidn2/hello differ: the order in which packages are named must not matter")
	}
}
