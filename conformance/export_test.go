package conformance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nixregExport runs nixreg export and returns what it prints.
func nixregExport(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, []string{"DOCKER_CONFIG=" + t.TempDir(), "REGISTRY_AUTH_FILE="}, binary, append([]string{"export"}, args...)...)
}

// The archive of each conf.json is, to the byte, the one that nixpkgs' own program wrote.
func TestExportedArchivesAreNixpkgs(t *testing.T) {
	endToEnd(t)
	all := goldens(t)
	dir := imagesOf(t, all)
	for _, g := range all {
		t.Run(g.Name, func(t *testing.T) {
			var want struct {
				SHA256 string `json:"docker_archive_sha256"`
			}
			if err := json.Unmarshal(readFile(t, filepath.Join("golden", g.Name+".json")), &want); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "image.tar")
			nixregExport(t, "--store", "local", "--images", dir, g.Name, "docker-archive:"+file)
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%x", h.Sum(nil)); got != want.SHA256 {
				t.Errorf("archive is %s, want %s", got, want.SHA256)
			}
		})
	}
}

// An archive in a pipe: what Docker and podman load is the image that is served, and runs.
func TestExportIntoDockerLoad(t *testing.T) {
	endToEnd(t)
	s := start(t, demo)
	config := s.image(t, "hello", "latest", dockerManifest)[0].Config.Digest
	const image = "nixreg-exported:x"
	t.Cleanup(func() { program{path: "docker"}.undo(t.Context(), "image", "rm", "--force", image) })
	output(t, nil, "bash", "-euo", "pipefail", "-c", `"$0" export --demo hello docker-archive:-:`+image+` | docker load --quiet`, binary)
	if got := inspect(t, image).ID; got != config {
		t.Errorf("loaded image is %s, its configuration %s", got, config)
	}
	if got := run(t, image); !strings.HasPrefix(got, "Hello") {
		t.Errorf("the demo says %q, want a greeting", got)
	}
	c := newContainers(t)
	file := filepath.Join(t.TempDir(), "hello.tar")
	nixregExport(t, "--demo", "hello", "docker-archive:"+file)
	if _, err := c.podman.run(t.Context(), "", "load", "--quiet", "--input", file); err != nil {
		t.Fatal(err)
	}
	id, err := c.podman.run(t.Context(), "", "image", "inspect", "--format", "{{.Id}}", "hello:latest")
	if err != nil || "sha256:"+strings.TrimSpace(id) != config {
		t.Errorf("podman's image is %s, %v; its configuration %s", id, err, config)
	}
}

// A layout is read by skopeo, and its digests are those that are served; so for each platform, and each encoding.
func TestExportedLayouts(t *testing.T) {
	endToEnd(t)
	skopeo := newContainers(t).skopeo
	layout := filepath.Join(t.TempDir(), "layout")
	for _, encoding := range []string{"tar", "gzip", "zstd"} {
		s := start(t, options{Args: []string{"--demo", "--layer-encoding", encoding}})
		want := s.image(t, "hello", "latest", accepts["oci"]...)
		for i, p := range []string{"all", "amd64", "arm64"} {
			args := []string{"--demo", "--layer-encoding", encoding, "hello", "oci:" + layout + ":" + encoding + "-" + p}
			if p == "all" {
				args = append(args, "--all")
			} else {
				args = append(args, "--platform", "linux/"+p)
			}
			nixregExport(t, args...)
			raw, err := skopeo.run(t.Context(), "", "inspect", "--raw", "oci:"+layout+":"+encoding+"-"+p)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(raw))); got != want[i].Digest {
				t.Errorf("%s for %s is %s, served is %s", encoding, p, got, want[i].Digest)
			}
		}
		if _, err := skopeo.run(t.Context(), "", "copy", "--all", "oci:"+layout+":"+encoding+"-all", "dir:"+t.TempDir()); err != nil {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

// What is pushed to the reference registry is what is served. The second time nothing is sent, and to another repository
// nothing that the first one has.
func TestExportToDistribution(t *testing.T) {
	endToEnd(t)
	for _, encoding := range []string{"tar", "gzip", "zstd"} {
		t.Run(encoding, func(t *testing.T) {
			origin := start(t, options{Args: []string{"--demo", "--layer-encoding", encoding}})
			want := origin.image(t, "hello", "latest", accepts["oci"]...)
			there := gate(t, startRegistry(t, ""))
			push := func(repo string, args ...string) (sent int) {
				t.Helper()
				there.forget()
				nixregExport(t, append([]string{"--demo", "--layer-encoding", encoding, "--all", "hello", "docker://" + there.Host + "/" + repo}, args...)...)
				sameImage(t, repo, there.back.image(t, repo, "latest", accepts["oci"]...), want)
				return there.count("PATCH ")
			}
			var blobs []string
			for _, d := range want {
				for _, b := range d.blobs() {
					blobs = append(blobs, b.Digest)
				}
			}
			slices.Sort(blobs)
			if sent := push("one"); sent != len(slices.Compact(blobs)) {
				t.Errorf("%d blobs are sent, not %d", sent, len(blobs))
			}
			if sent := push("one"); sent+there.count("POST ")+there.count("PUT ") != 0 {
				t.Errorf("again, %d blobs are sent, %d uploads begun, %d times something is put", sent, there.count("POST "), there.count("PUT "))
			}
			if sent := push("two", "--mount-from", "one"); sent != 0 {
				t.Errorf("%d blobs are sent that could be mounted", sent)
			}
			if sent := push("three", "--mount-from", "none", "--mount-from", "two"); sent != 0 {
				t.Errorf("%d blobs are sent that could be mounted from the second of two", sent)
			}
		})
	}
}

// Credentials come from where docker login puts them.
func TestExportWithCredentials(t *testing.T) {
	registry := memoryRegistry()
	host := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
		registry.ServeHTTP(w, r)
	}))
	auth := base64.StdEncoding.EncodeToString([]byte("user:secret"))
	for config, known := range map[string]bool{fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth): true, "{}": false} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), binary, "export", "--demo", "--tls-verify=false", "hello", "docker://"+host+"/hello")
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir, "REGISTRY_AUTH_FILE=")
		_, err := cmd.Output()
		switch said := string(stderrOf(err)); {
		case known && err != nil:
			t.Errorf("%v\n%s", err, said)
		case !known && (err == nil || strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "(if it needs credentials: docker login "+host+")\n")):
			t.Errorf("without credentials: %v\n%s", err, said)
		}
	}
}

// Every sh command of the page is run as it stands there.
func TestExportPageCommands(t *testing.T) {
	endToEnd(t)
	t.Cleanup(func() { program{path: "docker"}.undo(t.Context(), "image", "rm", "--force", "hello") })
	for _, command := range shellCommands(t, "../docs/export.md") {
		out := output(t, nil, "bash", "-euo", "pipefail", "-c", "cd .. && "+offline(command))
		if strings.HasPrefix(command, "docker run") && !strings.HasPrefix(out, "Hello") {
			t.Errorf("%s: prints %q, want a greeting", command, out)
		}
	}
}
