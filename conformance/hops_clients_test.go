package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// resolve builds the program that pulls with the resolver of containerd 2.4, which waits for 30 s for an answer to begin.
func resolve(t *testing.T, args ...string) program {
	t.Helper()
	bin := filepath.Join(toolCache(t), "resolve", "resolve")
	output(t, []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"}, "go", "build", "-C", "clients/resolve", "-o", bin, ".")
	return program{path: bin, args: args}
}

// resolved pulls with it, under a name that need not be that of the target's host.
func resolved(ctx context.Context, resolve program, dir string, i target, name string) error {
	out, err := resolve.run(ctx, dir, name)
	if err != nil {
		return err
	}
	return errors.Join(has("what was fetched", out, i.top), has("what was fetched", out, i.config), has("what was fetched", out, i.layer.Digest))
}

func resolveOperation(resolve program) operation {
	return operation{client: "containerd 2.4", name: "resolver", do: func(ctx context.Context, dir string, i target) error {
		return resolved(ctx, resolve, dir, i, i.image())
	}}
}

// curlOperations ask for a manifest and follow redirects, as scripts do.
func curlOperations(curl program) []operation {
	ask := func(ctx context.Context, dir string, i target, args ...string) (string, error) {
		url := "http://" + i.host + "/v2/" + i.repo + "/manifests/" + i.reference[1:]
		return curl.run(ctx, dir, slices.Concat([]string{"-sSfL", "-H", "Accept: " + ociManifest}, args, []string{url})...)
	}
	return []operation{
		{client: "curl", name: "HEAD", do: func(ctx context.Context, dir string, i target) error {
			out, err := ask(ctx, dir, i, "-I")
			if err != nil {
				return err
			}
			return has("the headers", out, i.top)
		}},
		{client: "curl", name: "GET", do: func(ctx context.Context, dir string, i target) error {
			out, err := ask(ctx, dir, i)
			if err != nil {
				return err
			}
			return same("the manifest's digest", textDigest(out), i.top)
		}},
	}
}

// hopping are the clients that wait for a first pull, each with the requests that it begins a pull with.
func hopping(t *testing.T, resolve program) []operation {
	t.Helper()
	second := "localhost:1" // nothing is copied
	all := slices.Concat(
		[]operation{resolveOperation(resolve)},
		dockerOperations(debian(t, "docker")),
		containersOperations(newContainers(t)),
		containerdOperations(startContainerd(t)),
		craneOperations(program{path: goTool(t, crane)}, second),
		regctlOperations(program{path: goTool(t, regctl)}, second),
		orasOperations(program{path: goTool(t, oras)}),
		curlOperations(debian(t, "curl")),
	)
	some := []string{
		"containerd 2.4 resolver", "docker pull, run", "podman pull, run", "buildah pull, from, run", "skopeo copy to dir:",
		"containerd CRI pull", "crane digest", "crane pull", "regctl image digest", "regctl image export", "oras pull",
		"curl HEAD", "curl GET",
	}
	all = slices.DeleteFunc(all, func(op operation) bool { return !slices.Contains(some, op.client+" "+op.name) })
	if len(all) != len(some) {
		t.Fatalf("%d clients, want %q", len(all), some)
	}
	return all
}

// Every client waits for its first pull through some hops, by tag and by digest, without being told to. That of containerd
// leaves after two seconds without an answer, and waits here for three and more.
func TestHopsClients(t *testing.T) {
	endToEnd(t)
	for _, op := range hopping(t, resolve(t, "-header-timeout", "2s")) {
		for _, ref := range []string{"tag", "digest"} {
			t.Run(op.client+"/"+op.name+"/"+ref, func(t *testing.T) {
				t.Parallel()
				h := newHeld(t, "nar")
				i := h.want
				if ref == "digest" {
					i.reference = "@" + i.top
				}
				if err := h.during(t, func() error { return op.within(t, i) }); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func (op operation) within(t *testing.T, i target) error {
	ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
	defer cancel()
	return op.do(ctx, t.TempDir(), i)
}

// The resolver of containerd 2.4 leaves where it gets no answer in time, and waits where it hops: for a manifest and for a
// layer, and for an image host whose mirror the server is.
func TestHopsContainerd(t *testing.T) {
	endToEnd(t)
	impatient := resolve(t, "-header-timeout", "2s")
	t.Run("without hops", func(t *testing.T) {
		t.Parallel()
		h := newHeld(t, "nar", "--wait", "1h")
		err := h.during(t, func() error { return resolveOperation(impatient).within(t, h.want) })
		if err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers") {
			t.Errorf("%v; want the client's own time to be over", err)
		}
	})
	for _, what := range []string{"narinfo", "blob"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, what)
			if err := h.during(t, func() error { return resolveOperation(impatient).within(t, h.want) }); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("mirror", func(t *testing.T) {
		t.Parallel()
		h := newHeld(t, "nar", "--serve-as", mirrored)
		hosts := t.TempDir()
		c := containerd{dir: hosts}
		if err := c.mirror(mirrored, h.Host); err != nil {
			t.Fatal(err)
		}
		p := program{path: impatient.path, args: append([]string{"-hosts-dir", hosts + "/certs.d"}, impatient.args...)}
		err := h.during(t, func() error {
			return resolved(t.Context(), p, t.TempDir(), h.want, mirrored+"/"+h.want.repo+":latest")
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// With all times as they are for users, 110 seconds of work: containerd 2.4 leaves after 30 s without an answer, and the
// server has clients come again after 20. It takes two minutes:
//
//	NIXREG_E2E=1 NIXREG_SLOW=1 go test ./conformance -count=1 -run TestFirstPullOfTwoMinutes -v -parallel 16
func TestFirstPullOfTwoMinutes(t *testing.T) {
	endToEnd(t)
	if os.Getenv("NIXREG_SLOW") != "1" {
		t.Skip("takes two minutes: set NIXREG_SLOW=1 to run it")
	}
	const work = 110 * time.Second
	for _, op := range hopping(t, resolve(t)) {
		t.Run(op.client+"/"+op.name, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, "nar", "--wait", "20s")
			begin := time.Now()
			defer time.AfterFunc(work, h.release).Stop()
			err := op.within(t, h.want)
			t.Logf("%v after %v and %d hops", errors.Join(err), time.Since(begin).Round(time.Second), h.hops(h.want.repo))
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("containerd 2.4/without hops", func(t *testing.T) {
		t.Parallel()
		h := newHeld(t, "nar", "--wait", "1h")
		begin := time.Now()
		defer time.AfterFunc(work, h.release).Stop()
		err := resolveOperation(resolve(t)).within(t, h.want)
		t.Logf("%v after %v", err, time.Since(begin).Round(time.Second))
		if err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers") {
			t.Error(fmt.Errorf("want the client's own time to be over: %w", err))
		}
	})
}
