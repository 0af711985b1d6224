package conformance_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A registry that pulls through gives what nixreg gave, and goes on to give it when nixreg is gone.
func TestMirroredByDistribution(t *testing.T) {
	endToEnd(t)
	helloPath(t)
	for name, o := range map[string]options{"image": local, "index": demo} {
		t.Run(name, func(t *testing.T) {
			origin := start(t, o)
			mirror := startRegistry(t, origin.URL)
			want := origin.image(t, "hello", "latest", accepts["oci"]...)
			sameImage(t, "through the mirror", mirror.image(t, "hello", "latest", accepts["oci"]...), want)
			eventually(t, "the mirror keeps what it gave", func() bool { return mirror.keeps(t, "hello", want) })
			origin.stop(t)
			sameImage(t, "from the mirror alone", mirror.image(t, "hello", want[0].Digest, accepts["oci"]...), want)
		})
	}
}

// keeps reports whether a registry started by startRegistry has an image's documents and blobs on its own disk.
func (s *server) keeps(t *testing.T, repo string, image []document) bool {
	t.Helper()
	dir := filepath.Join(s.Data, "docker/registry/v2/repositories", repo)
	link := func(kind, digest string) bool {
		return exists(t, filepath.Join(dir, kind, strings.Replace(digest, ":", "/", 1), "link"))
	}
	for _, d := range image {
		if !link("_manifests/revisions", d.Digest) {
			return false
		}
		for _, b := range d.blobs() {
			if !link("_layers", b.Digest) {
				return false
			}
		}
	}
	return true
}

// Whoever copies an image from nixreg to another registry finds it there under the same digests, with every platform.
func TestCopiedToAnotherRegistry(t *testing.T) {
	endToEnd(t)
	helloPath(t)
	second := startRegistry(t, "")
	copies := copiers(t, second)
	for name, o := range map[string]options{"image": local, "index": demo} {
		origin := start(t, o)
		want := origin.image(t, "hello", "latest", accepts["oci"]...)
		for _, client := range slices.Sorted(maps.Keys(copies)) {
			t.Run(client+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
				defer cancel()
				into := fmt.Sprintf("%s/%s", name, client)
				if err := copies[client](ctx, origin, into); err != nil {
					t.Fatal(err)
				}
				if client == "skopeo" {
					into += "/hello" // sync keeps the last component
				}
				sameImage(t, into, second.image(t, into, "latest", accepts["oci"]...), want)
			})
		}
	}
}

// copiers copy hello:latest from one registry into a repository of the second.
func copiers(t *testing.T, second *server) map[string]func(ctx context.Context, from *server, into string) error {
	t.Helper()
	skopeo := newContainers(t).skopeo
	crane, regctl := program{path: goTool(t, crane)}, program{path: goTool(t, regctl)}
	return map[string]func(ctx context.Context, from *server, into string) error{
		"skopeo": func(ctx context.Context, from *server, into string) error {
			_, err := skopeo.run(ctx, "", "sync", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
				"--src", "docker", "--dest", "docker", from.Host+"/hello:latest", second.Host+"/"+into)
			return err
		},
		"crane": func(ctx context.Context, from *server, into string) error {
			_, err := crane.run(ctx, "", "copy", from.Host+"/hello:latest", second.Host+"/"+into+":latest")
			return err
		},
		"regctl": func(ctx context.Context, from *server, into string) error {
			_, err := regctl.run(ctx, "", "--host", "reg="+from.Host+",tls=disabled", "--host", "reg="+second.Host+",tls=disabled",
				"image", "copy", from.Host+"/hello:latest", second.Host+"/"+into+":latest")
			return err
		},
	}
}

// sameImage compares the documents of an image, the index first.
func sameImage(t *testing.T, what string, got, want []document) {
	t.Helper()
	sameDigests(t, what, snapshot{"image": got}, snapshot{"image": want})
}
