package conformance_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// podmanCgroup is the parent of podman's containers, which podman leaves behind.
const podmanCgroup = "nixreg-podman"

// containers are podman, buildah and skopeo, with a storage of their own.
type containers struct {
	podman, buildah, skopeo program
}

// newContainers configures the three so that they need neither systemd nor a network, nor touch what the machine has.
func newContainers(t *testing.T) containers {
	t.Helper()
	dir, err := os.MkdirTemp("", "nixreg-containers")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"storage.conf": fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = \"%[1]s/root\"\nrunroot = \"%[1]s/run\"\n", dir),
		"containers.conf": fmt.Sprintf(`[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
tmp_dir = "%[1]s/tmp"
lock_type = "file"
[network]
network_config_dir = "%[1]s/net"
[containers]
oom_score_adj = 0
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
`, dir),
		"policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := containers{debian(t, "podman"), debian(t, "buildah"), debian(t, "skopeo")}
	c.podman.env = []string{"CONTAINERS_STORAGE_CONF=" + dir + "/storage.conf", "CONTAINERS_CONF=" + dir + "/containers.conf"}
	c.buildah.env = c.podman.env
	c.skopeo.env, c.skopeo.args = c.podman.env, []string{"--policy", dir + "/policy.json"}
	t.Cleanup(func() { c.remove(t, dir) })
	return c
}

// remove takes down the mounts that the storage keeps, then the storage.
func (c containers) remove(t *testing.T, dir string) {
	t.Helper()
	ctx := context.Background()
	c.buildah.undo(ctx, "rm", "--all")
	c.podman.undo(ctx, "rm", "--all", "--force")
	for _, mount := range mountsBelow(t, dir) {
		if _, err := (program{path: "umount"}).run(ctx, "", mount); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	cgroups := program{path: "find"}
	cgroups.undo(ctx, "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/"+podmanCgroup+"*", "-exec", "rmdir", "{}", "+")
}

// mountsBelow are the mount points in dir, the innermost first.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			all = append([]string{f[1]}, all...)
		}
	}
	return all
}

// export pulls an image and yields its files as a container of podman's would see them.
func (c containers) export(t *testing.T, image string, yield func(*tar.Header, io.Reader)) {
	t.Helper()
	id, err := c.podman.run(t.Context(), "", "create", "--quiet", "--tls-verify=false", "--network", "none", image, "none")
	if err != nil {
		t.Fatal(err)
	}
	c.podman.entries(t, yield, "export", strings.TrimSpace(id))
}

func containersOperations(c containers) []operation {
	return slices.Concat(podmanOperations(c), buildahOperations(c), skopeoOperations(c.skopeo))
}

func podmanOperations(c containers) []operation {
	return []operation{{client: "podman", name: "pull, run", do: func(ctx context.Context, dir string, i target) error {
		defer c.podman.undo(ctx, "image", "rm", "--force", i.image())
		return engine{c.podman, []string{"--tls-verify=false"}, []string{"--cgroup-parent", "/" + podmanCgroup}}.pullAndRun(ctx, dir, i)
	}}}
}

func buildahOperations(c containers) []operation {
	return []operation{{client: "buildah", name: "pull, from, run", do: c.buildahFrom}}
}

// buildahFrom pulls, makes a working container of the image, and runs a program in it.
func (c containers) buildahFrom(ctx context.Context, dir string, i target) error {
	defer c.buildah.undo(ctx, "rmi", "--force", i.image())
	if _, err := c.buildah.run(ctx, dir, "pull", "--quiet", "--tls-verify=false", i.image()); err != nil {
		return err
	}
	name, err := c.buildah.run(ctx, dir, "from", "--pull-never", i.image())
	if err != nil {
		return err
	}
	name = strings.TrimSpace(name)
	defer c.buildah.undo(ctx, "rm", name)
	out, err := c.buildah.run(ctx, dir, "inspect", "--format", "{{.FromImageID}}", name)
	if err != nil {
		return err
	}
	if err := hasID(out, i.config); err != nil || i.says == "" {
		return err
	}
	out, err = c.buildah.run(ctx, dir, "run", "--isolation", "chroot", name, "--", "/bin/hello")
	if err != nil {
		return err
	}
	return i.greets(out)
}

// hasID looks for an image ID, which some programs write as a digest and some as its hexadecimal part.
func hasID(words, config string) error {
	return has("the image's ID", strings.ReplaceAll(" "+words, "sha256:", ""), strings.TrimPrefix(config, "sha256:"))
}

func skopeoOperations(skopeo program) []operation {
	copyTo := func(ctx context.Context, dir string, i target, to string, args ...string) error {
		args = append([]string{"copy", "--quiet", "--src-tls-verify=false"}, args...)
		_, err := skopeo.run(ctx, dir, append(args, "docker://"+i.image(), to)...)
		return err
	}
	return []operation{
		{client: "skopeo", name: "copy to dir:", do: func(ctx context.Context, dir string, i target) error {
			if err := copyTo(ctx, dir, i, "dir:copy", "--preserve-digests"); err != nil {
				return err
			}
			return dirHas(filepath.Join(dir, "copy"), i.manifest)
		}},
		{client: "skopeo", name: "copy to oci:", do: func(ctx context.Context, dir string, i target) error {
			if err := copyTo(ctx, dir, i, "oci:copy:x", "--preserve-digests"); err != nil {
				return err
			}
			return layoutHas(filepath.Join(dir, "copy"), i.manifest)
		}},
		{client: "skopeo", name: "copy to docker-archive:", refuses: zstdLayers("zstd compression is not supported for docker images", "an archive for Docker cannot hold zstd layers"), do: func(ctx context.Context, dir string, i target) error {
			if err := copyTo(ctx, dir, i, "docker-archive:copy.tar:copy/x:y"); err != nil {
				return err
			}
			return tarHas(filepath.Join(dir, "copy.tar"), strings.TrimPrefix(i.config, "sha256:")+".json")
		}},
		{client: "skopeo", name: "sync", do: func(ctx context.Context, dir string, i target) error {
			_, err := skopeo.run(ctx, dir, "sync", "--all", "--preserve-digests", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", i.image(), "synced")
			if err != nil {
				return err
			}
			return dirHas(filepath.Join(dir, "synced", i.repo+i.reference), i.top)
		}},
	}
}

// dirHas looks into a directory as skopeo's dir: is one.
func dirHas(dir, digest string) error {
	got, err := digestOf(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return err
	}
	return same("the manifest in "+filepath.Base(dir), got, digest)
}

// tarHas looks for an entry of a tar archive.
func tarHas(file, name string) error {
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	return tarEntry(archive, name)
}
