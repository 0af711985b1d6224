package conformance_test

import (
	"context"
	"fmt"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// distributed is an upstream of distribution's make that has library/hello. With tokens it wants one of them.
func distributed(t *testing.T, ts *tokens) (u *upstream, hello []document) {
	t.Helper()
	open := startRegistry(t, "")
	u = gate(t, open)
	hello = u.pushHello(t)
	if ts == nil {
		return u, hello
	}
	closed := startRegistryIn(t, open.Data, fmt.Sprintf("auth: {token: {realm: %q, service: %q, issuer: %q, jwks: %q}}\n",
		ts.realm, tokenService, tokenService, ts.keySet(t)))
	to, err := url.Parse(closed.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.proxy = httputil.NewSingleHostReverseProxy(to)
	return u, hello
}

// The reference implementation as the upstream: for everybody, and for those who have a token.
func TestPullThroughDistribution(t *testing.T) {
	endToEnd(t)
	for name, ts := range map[string]*tokens{"open": nil, "with tokens": newTokens(t)} {
		t.Run(name, func(t *testing.T) {
			u, want := distributed(t, ts)
			layer := want[1].Layers[0]
			u.spoil("GET /v2/library/hello/blobs/"+layer.Digest, 1, cut)
			s := start(t, through(u))
			sameImage(t, "through the mirror", s.image(t, "lab/library/hello", "latest"), want)
			if asked := u.requests("GET /v2/library/hello/blobs/" + layer.Digest); len(asked) != 2 || asked[1].span == "" {
				t.Errorf("a layer that was cut once was asked for so: %q", asked)
			}
			u.stop()
			sameImage(t, "without the upstream", s.image(t, "lab/library/hello", "latest"), want)
			s.checkKept(t)
		})
	}
}

// puller is a client that knows an image by a name of its own.
type puller struct {
	image  string
	digest string                                                            // of the image as the client shows it
	pull   func(ctx context.Context, image string) (shown string, err error) // shown has the image's digests
	run    func(ctx context.Context, image string) (out string, err error)
	remove func(ctx context.Context, image string)
}

// mirrorPage has the configuration of each client, which is used as it stands there.
const mirrorPage = "../docs/mirror.md"

// Every client that can be told of a mirror pulls and runs an image through it; and again when the upstream is gone.
func TestPullThroughClients(t *testing.T) {
	endToEnd(t)
	for _, client := range []struct {
		name  string
		start func(t *testing.T, s *server, top string) puller
	}{
		{"docker by path", dockerByPath},
		{"docker with registry-mirrors", dockerByMirror},
		{"containerd", containerdByMirror},
		{"podman", podmanByMirror},
	} {
		t.Run(client.name, func(t *testing.T) {
			u, hello := distributed(t, nil)
			s := start(t, options{Args: []string{"--demo", "--mirror", "docker.io=" + u.URL, "--mirror-listen", "127.0.0.1:0"}})
			p := client.start(t, s, hello[0].Digest)
			p.pullAndRun(t)
			if u.count("GET /v2/library/hello/") == 0 {
				t.Error("the upstream was asked for nothing")
			}
			u.stop()
			p.pullAndRun(t)
		})
	}
}

// pullAndRun leaves nothing of the image behind.
func (p puller) pullAndRun(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
	defer cancel()
	defer p.remove(ctx, p.image)
	shown, err := p.pull(ctx, p.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := has("the image's digests", shown, p.digest); err != nil {
		t.Error(err)
	}
	out, err := p.run(ctx, p.image)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "Hello from nixreg!") {
		t.Errorf("%s says %q", p.image, out)
	}
}

// dockerLike is a puller with Docker's commands.
func dockerLike(p program, image, digest string, runArgs ...string) puller {
	return puller{
		image:  image,
		digest: digest,
		pull: func(ctx context.Context, image string) (string, error) {
			if _, err := p.run(ctx, "", "pull", "--quiet", image); err != nil {
				return "", err
			}
			return p.run(ctx, "", "image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", image)
		},
		run: func(ctx context.Context, image string) (string, error) {
			return p.run(ctx, "", slices.Concat([]string{"run", "--rm", "--network", "none"}, runArgs, []string{image})...)
		},
		remove: func(ctx context.Context, image string) { p.undo(ctx, "image", "rm", "--force", image) },
	}
}

func dockerByPath(t *testing.T, s *server, top string) puller {
	t.Helper()
	repo := s.Host + "/docker.io/library/hello"
	return dockerLike(debian(t, "docker"), repo+":latest", repo+"@"+top)
}

// dockerByMirror is an engine of its own, told of the mirror as users do it: registry-mirrors in its daemon.json.
func dockerByMirror(t *testing.T, s *server, top string) puller {
	t.Helper()
	config := snippet(t, mirrorPage, "registry-mirrors", "http://localhost:5001", s.mirrorAlone(t, "docker.io").URL)
	engine := startDocker(t, config)
	return dockerLike(engine, "hello:latest", "hello@"+top)
}

// startDocker starts a Docker engine beside the machine's, with a daemon.json.
func startDocker(t *testing.T, config string) program {
	t.Helper()
	dir, err := os.MkdirTemp("", "nixreg-docker") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"NIXREG_DOCKER_DIR=" + dir, "NIXREG_DOCKER_CONFIG=" + config}
	t.Cleanup(func() {
		stop := exec.Command("clients/docker.sh", "stop")
		stop.Env = append(os.Environ(), env...)
		if out, err := stop.CombinedOutput(); err != nil {
			t.Errorf("docker.sh stop: %v\n%s", err, out)
		}
	})
	host := strings.TrimSpace(output(t, env, "clients/docker.sh", "start"))
	return program{path: debian(t, "docker").path, env: []string{"DOCKER_HOST=" + host}}
}

func containerdByMirror(t *testing.T, s *server, top string) puller {
	t.Helper()
	c := startContainerdWith(t, func(dir string) string {
		return snippet(t, mirrorPage, "/etc/containerd/config.toml", "/etc/containerd/certs.d", dir+"/certs.d", "version = 2\n", "")
	})
	hosts := snippet(t, mirrorPage, "/etc/containerd/certs.d/docker.io/hosts.toml", "127.0.0.1:5000", strings.TrimPrefix(s.URL, "http://"))
	if err := c.hosts("docker.io", hosts); err != nil {
		t.Fatal(err)
	}
	return puller{
		image:  "docker.io/library/hello:latest",
		digest: "docker.io/library/hello@" + top,
		pull: func(ctx context.Context, image string) (string, error) {
			return c.cri.run(ctx, "", "pull", image)
		},
		run: func(ctx context.Context, image string) (string, error) {
			return c.ctr.run(ctx, "", "run", "--rm", "--cgroup", "/nixreg-containerd", image, "nixreg-hello")
		},
		remove: func(ctx context.Context, image string) { c.cri.undo(ctx, "remove", image) },
	}
}

func podmanByMirror(t *testing.T, s *server, top string) puller {
	t.Helper()
	file := filepath.Join(t.TempDir(), "registries.conf")
	text := snippet(t, mirrorPage, "/etc/containers/registries.conf", "localhost:5000", s.Host)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newContainers(t).podman
	p.env = append(slices.Clone(p.env), "CONTAINERS_REGISTRIES_CONF="+file)
	return dockerLike(p, "docker.io/library/hello:latest", "docker.io/library/hello@"+top, "--cgroup-parent", "/"+podmanCgroup)
}

// What copies and inspects images takes one of a mirror like any other: its name begins with the mirror's.
func TestPullThroughTools(t *testing.T) {
	endToEnd(t)
	u, _ := distributed(t, nil)
	s := start(t, options{Args: []string{"--demo", "--mirror", "docker.io=" + u.URL}})
	i := s.target(t, "docker.io/library/hello", "latest")
	second := startRegistry(t, "").Host
	operations := slices.Concat(
		skopeoOperations(newContainers(t).skopeo),
		craneOperations(program{path: goTool(t, crane)}, second),
		regctlOperations(program{path: goTool(t, regctl)}, second),
	)
	some := []string{
		"skopeo copy to oci:", "skopeo copy to dir:", "crane digest", "crane copy", "crane validate --fast",
		"regctl image digest", "regctl image copy", "regctl tag ls",
	}
	for _, op := range operations {
		name := op.client + " " + op.name
		if !slices.Contains(some, name) {
			continue
		}
		some = slices.DeleteFunc(some, func(s string) bool { return s == name })
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
			defer cancel()
			if err := op.do(ctx, t.TempDir(), i); err != nil {
				t.Error(err)
			}
		})
	}
	if len(some) > 0 {
		t.Errorf("there are no operations %q", some)
	}
}
