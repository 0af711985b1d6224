package conformance_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mirrored is an image host that does not exist: containerd finds its images at a mirror, or not at all.
const mirrored = "nix.example"

// containerd is one that runs for a test alone.
type containerd struct {
	dir string
	cri program // minicri
	ctr program
}

func startContainerd(t *testing.T) containerd {
	t.Helper()
	return startContainerdWith(t, func(string) string { return "" })
}

// startContainerdWith starts one with lines of its own, for its directory, in place of those that name certs.d.
func startContainerdWith(t *testing.T, registry func(dir string) string) containerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "nixreg-containerd") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	debian(t, "containerd")
	t.Cleanup(func() {
		if out, err := exec.Command("clients/containerd.sh", "stop", dir).CombinedOutput(); err != nil {
			t.Errorf("containerd.sh stop: %v\n%s", err, out)
		}
	})
	env := []string{"NIXREG_CONTAINERD_REGISTRY=" + registry(dir)}
	socket := strings.TrimSpace(output(t, env, "clients/containerd.sh", "start", dir))
	return containerd{
		dir: dir,
		cri: program{path: minicri(t), args: []string{"unix://" + socket}},
		ctr: program{path: debian(t, "ctr").path, args: []string{"--address", socket, "--namespace", "k8s.io"}},
	}
}

// minicri builds the client of the container runtime interface.
func minicri(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(toolCache(t), "minicri", "minicri")
	output(t, []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"}, "go", "build", "-C", "clients/minicri", "-o", bin, ".")
	return bin
}

func containerdOperations(c containerd) []operation {
	return []operation{
		{client: "containerd", name: "CRI pull", do: func(ctx context.Context, dir string, i target) error {
			return c.pull(ctx, dir, i, i.host)
		}},
		{client: "containerd", name: "CRI pull, mirror", do: func(ctx context.Context, dir string, i target) error {
			if err := c.mirror(mirrored, i.host); err != nil {
				return err
			}
			return c.pull(ctx, dir, i, mirrored)
		}},
	}
}

// pull pulls an image that is named as if it came from host.
func (c containerd) pull(ctx context.Context, dir string, i target, host string) error {
	repo := host + "/" + i.repo
	defer c.cri.undo(ctx, "remove", repo+i.reference)
	out, err := c.cri.run(ctx, dir, "pull", repo+i.reference)
	if err != nil {
		return err
	}
	if err := has("the image's digests", out, repo+"@"+i.top); err != nil {
		return err
	}
	return has("the image's ID", out, i.config)
}

// export pulls an image and yields the files of its snapshot.
func (c containerd) export(t *testing.T, image string, yield func(*tar.Header, io.Reader)) {
	t.Helper()
	ctx, mount := t.Context(), filepath.Join(c.dir, "mount")
	for _, step := range []func() (string, error){
		func() (string, error) { return c.cri.run(ctx, "", "pull", image) },
		func() (string, error) { return "", os.Mkdir(mount, 0o755) },
		func() (string, error) { return c.ctr.run(ctx, "", "images", "mount", image, mount) },
	} {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	defer c.ctr.undo(ctx, "images", "unmount", "--rm", mount)
	program{path: "tar"}.entries(t, yield, "--create", "--format=pax", "--directory", mount, ".")
}

// mirror lets the images of a host be pulled from another one, and from nowhere else.
func (c containerd) mirror(host, from string) error {
	return c.hosts(host, fmt.Sprintf("server = \"https://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", host, from))
}

// hosts writes the hosts.toml of an image host.
func (c containerd) hosts(host, text string) error {
	dir := filepath.Join(c.dir, "certs.d", host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644)
}

// serveAs are the arguments by which a server answers for the mirrored host.
func serveAs(t *testing.T) []string {
	t.Helper()
	if !strings.Contains(output(t, nil, binary, "serve", "--help"), "--serve-as ") {
		return nil // it answers for every host
	}
	return []string{"--serve-as", mirrored}
}
