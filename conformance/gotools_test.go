package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The clients that go install brings, at the versions these tests were written against.
const (
	crane  = "github.com/google/go-containerregistry/cmd/crane@v0.22.1"
	regctl = "github.com/regclient/regclient/cmd/regctl@v0.11.7"
	oras   = "oras.land/oras/cmd/oras@v1.3.6"
)

// craneOperations copies to the registry second.
func craneOperations(crane program, second string) []operation {
	run := func(ctx context.Context, what, want, dir string, args ...string) error {
		out, err := crane.run(ctx, dir, args...)
		if err != nil || want == "" {
			return err
		}
		return same(what, out, want)
	}
	copied := func(i target) string { return second + "/crane/" + i.repo + ":copy" }
	return []operation{
		{client: "crane", name: "digest", do: func(ctx context.Context, dir string, i target) error {
			return run(ctx, "the digest", i.top, dir, "digest", i.image())
		}},
		{client: "crane", name: "manifest", do: func(ctx context.Context, dir string, i target) error {
			out, err := crane.run(ctx, dir, "manifest", i.image())
			if err != nil {
				return err
			}
			return same("the manifest's digest", textDigest(strings.TrimSuffix(out, "\n")), i.top)
		}},
		{client: "crane", name: "pull", do: func(ctx context.Context, dir string, i target) error {
			if err := run(ctx, "", "", dir, "pull", "--format", "oci", i.image(), "layout"); err != nil {
				return err
			}
			return layoutHas(filepath.Join(dir, "layout"), i.top)
		}},
		{client: "crane", name: "export", do: func(ctx context.Context, dir string, i target) error {
			if err := run(ctx, "", "", dir, "export", i.image(), "tree.tar"); err != nil {
				return err
			}
			return tarHas(filepath.Join(dir, "tree.tar"), "nix/store")
		}},
		{client: "crane", name: "copy", do: func(ctx context.Context, dir string, i target) error {
			if err := run(ctx, "", "", dir, "copy", i.image(), copied(i)); err != nil {
				return err
			}
			return run(ctx, "the copy's digest", i.top, dir, "digest", copied(i))
		}},
		{client: "crane", name: "validate --fast", do: func(ctx context.Context, dir string, i target) error {
			return run(ctx, "", "", dir, "validate", "--fast", "--remote", i.image())
		}},
		{client: "crane", name: "validate", refuses: gzipOnly, do: func(ctx context.Context, dir string, i target) error {
			return run(ctx, "", "", dir, "validate", "--remote", i.image())
		}},
	}
}

// gzipOnly is why crane's full validation takes no other layers; every registry that has such layers meets it.
func gzipOnly(encoding string, _ target) *refusal {
	if encoding == "gzip" {
		return nil
	}
	return &refusal{text: "gzip: invalid header", reason: "crane validate takes every layer for gzip (gzip: invalid header); its --fast does not look inside"}
}

// regctlOperations copies to the registry second.
func regctlOperations(regctl program, second string) []operation {
	run := func(ctx context.Context, dir string, i target, args ...string) (string, error) {
		plain := []string{"--host", "reg=" + i.host + ",tls=disabled", "--host", "reg=" + second + ",tls=disabled"}
		return regctl.run(ctx, dir, append(plain, args...)...)
	}
	return []operation{
		{client: "regctl", name: "image digest", do: func(ctx context.Context, dir string, i target) error {
			out, err := run(ctx, dir, i, "image", "digest", i.image())
			if err != nil {
				return err
			}
			return same("the digest", out, i.top)
		}},
		{client: "regctl", name: "manifest get", do: func(ctx context.Context, dir string, i target) error {
			out, err := run(ctx, dir, i, "manifest", "get", "--format", "raw-body", i.image())
			if err != nil {
				return err
			}
			return same("the manifest's digest", textDigest(out), i.top)
		}},
		{client: "regctl", name: "image copy", do: func(ctx context.Context, dir string, i target) error {
			copied := second + "/regctl/" + i.repo + ":copy"
			if _, err := run(ctx, dir, i, "image", "copy", i.image(), copied); err != nil {
				return err
			}
			out, err := run(ctx, dir, i, "image", "digest", copied)
			if err != nil {
				return err
			}
			return same("the copy's digest", out, i.top)
		}},
		{client: "regctl", name: "image export", do: func(ctx context.Context, dir string, i target) error {
			if _, err := run(ctx, dir, i, "image", "export", i.image(), "image.tar"); err != nil {
				return err
			}
			return tarHas(filepath.Join(dir, "image.tar"), "blobs/"+strings.Replace(i.top, ":", "/", 1))
		}},
		{client: "regctl", name: "tag ls", do: func(ctx context.Context, dir string, i target) error {
			out, err := run(ctx, dir, i, "tag", "ls", i.host+"/"+i.repo)
			if err != nil {
				return err
			}
			return has("the tags", out, "latest")
		}},
		{client: "regctl", name: "artifact list", do: func(ctx context.Context, dir string, i target) error {
			out, err := run(ctx, dir, i, "artifact", "list", i.subject())
			if err != nil {
				return err
			}
			return has("the artifacts", out, spdx)
		}},
	}
}

func orasOperations(oras program) []operation {
	fetched := func(ctx context.Context, dir, want string, args ...string) error {
		if _, err := oras.run(ctx, dir, append(args, "--plain-http", "--output", "fetched")...); err != nil {
			return err
		}
		got, err := digestOf(filepath.Join(dir, "fetched"))
		if err != nil {
			return err
		}
		return same("the digest of what was fetched", got, want)
	}
	return []operation{
		{client: "oras", name: "manifest fetch", do: func(ctx context.Context, dir string, i target) error {
			return fetched(ctx, dir, i.top, "manifest", "fetch", i.image())
		}},
		{client: "oras", name: "blob fetch", do: func(ctx context.Context, dir string, i target) error {
			return fetched(ctx, dir, i.layer.Digest, "blob", "fetch", i.host+"/"+i.repo+"@"+i.layer.Digest)
		}},
		{client: "oras", name: "pull", do: func(ctx context.Context, dir string, i target) error {
			out, err := oras.run(ctx, dir, "pull", "--plain-http", "--no-tty", "--format", "json", i.image())
			if err != nil {
				return err
			}
			var pulled struct{ Reference string }
			if err := json.Unmarshal([]byte(out), &pulled); err != nil {
				return fmt.Errorf("oras pull: %w: %q", err, out)
			}
			return same("what was pulled", pulled.Reference, i.host+"/"+i.repo+"@"+i.top)
		}},
		{client: "oras", name: "copy to a layout", do: func(ctx context.Context, dir string, i target) error {
			if _, err := oras.run(ctx, dir, "copy", "--from-plain-http", "--no-tty", "--to-oci-layout", i.image(), "layout:copy"); err != nil {
				return err
			}
			return layoutHas(filepath.Join(dir, "layout"), i.top)
		}},
		{client: "oras", name: "repo tags", do: func(ctx context.Context, dir string, i target) error {
			out, err := oras.run(ctx, dir, "repo", "tags", "--plain-http", i.host+"/"+i.repo)
			if err != nil {
				return err
			}
			return has("the tags", out, "latest")
		}},
		{client: "oras", name: "discover", do: func(ctx context.Context, dir string, i target) error {
			out, err := oras.run(ctx, dir, "discover", "--plain-http", "--format", "tree", i.subject())
			if err != nil {
				return err
			}
			return errors.Join(has("the tree's root", out, i.subject()), has("the tree", out, spdx))
		}},
		{client: "oras", name: "pull the SBOM", do: func(ctx context.Context, dir string, i target) error {
			return pullBill(ctx, oras, dir, i)
		}},
	}
}

// spdx is the type of the bill of materials that every image has as a referrer.
const spdx = "application/spdx+json"

// subject is what it refers to: the manifest for this machine.
func (i target) subject() string { return i.host + "/" + i.repo + "@" + i.manifest }

// pullBill finds the bill of materials of an image and pulls it.
func pullBill(ctx context.Context, oras program, dir string, i target) error {
	out, err := oras.run(ctx, dir, "discover", "--plain-http", "--format", "json", i.subject())
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindAllString(out, -1)
	at := slices.IndexFunc(found, func(d string) bool { return d != i.manifest })
	if at < 0 {
		return fmt.Errorf("oras discover: no referrer in %q", out)
	}
	if _, err := oras.run(ctx, dir, "pull", "--plain-http", "--no-tty", i.host+"/"+i.repo+"@"+found[at]); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, "sbom.spdx.json"))
	if err != nil {
		return err
	}
	var bill struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct{ Name string }
	}
	if err := json.Unmarshal(b, &bill); err != nil {
		return fmt.Errorf("sbom.spdx.json: %w", err)
	}
	if bill.SPDXVersion != "SPDX-2.3" || len(bill.Packages) < 2 {
		return fmt.Errorf("sbom.spdx.json is %s with %d packages", bill.SPDXVersion, len(bill.Packages))
	}
	return nil
}

// layoutHas looks into an OCI layout: does its index name the digest, and is that blob there as it should be?
func layoutHas(dir, digest string) error {
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return err
	}
	var index document
	if err := json.Unmarshal(b, &index); err != nil {
		return err
	}
	if len(index.Manifests) == 0 {
		return fmt.Errorf("the layout in %s is empty", dir)
	}
	if err := same("the layout's digest", index.Manifests[0].Digest, digest); err != nil {
		return err
	}
	got, err := digestOf(filepath.Join(dir, "blobs", strings.Replace(digest, ":", "/", 1)))
	if err != nil {
		return err
	}
	return same("the blob in the layout", got, digest)
}
