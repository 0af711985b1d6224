package conformance_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Commands and configurations of docs/another-machine.md for clients over plain HTTP do as the page says, with the address of a
// server in the place of nixreg.example:5000.
func TestAnotherMachine(t *testing.T) {
	endToEnd(t)
	const page, host = "../docs/another-machine.md", "nixreg.example:5000"
	s := start(t, options{Args: []string{"--demo"}})
	c, dir := newContainers(t), t.TempDir()

	refused, err := c.skopeo.run(t.Context(), dir, "inspect", "docker://"+s.Host+"/hello")
	if err == nil {
		t.Errorf("skopeo needs to be told: %s", refused)
	}
	text := "unqualified-search-registries = []\n" + snippet(t, page, "/etc/containers/registries.conf.d/nixreg.conf", host, s.Host)
	file := filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*program{&c.podman, &c.buildah} {
		p.env = append(slices.Clone(p.env), "CONTAINERS_REGISTRIES_CONF="+file)
	}
	c.skopeo.args = append(slices.Clone(c.skopeo.args), "--registries-conf", file) // it does not read the variable
	told := map[string]func() (string, error){
		"podman":  func() (string, error) { return c.podman.run(t.Context(), dir, "pull", s.Host+"/hello") },
		"buildah": func() (string, error) { return c.buildah.run(t.Context(), dir, "pull", s.Host+"/hello") },
		"skopeo":  func() (string, error) { return c.skopeo.run(t.Context(), dir, "inspect", "docker://"+s.Host+"/hello") },
	}
	for name, pull := range told {
		if out, err := pull(); err != nil {
			t.Errorf("%s with the page's configuration: %v\n%s", name, err, out)
		}
	}

	clean := newContainers(t)
	programs := map[string]program{
		"buildah": clean.buildah, "skopeo": clean.skopeo, "nixreg": {path: binary},
		"crane": {path: goTool(t, crane)}, "regctl": {path: goTool(t, regctl), env: []string{"REGCTL_CONFIG=" + filepath.Join(dir, "regctl.json")}},
	}
	ran := 0
	for _, block := range []string{"buildah pull --tls-verify=false", "crane pull --insecure"} {
		for line := range strings.Lines(snippet(t, page, block, host, s.Host)) {
			words := strings.Fields(line)
			if len(words) == 0 || slices.Contains([]string{"podman", "oras"}, words[0]) { // TestClients runs podman; oras needs the digest of an artifact
				continue
			}
			if words[0] == "nixreg" {
				words = append(words, "--output", filepath.Join(dir, "pulled.tar"))
			}
			if out, err := programs[words[0]].run(t.Context(), dir, words[1:]...); err != nil {
				t.Errorf("%s: %v\n%s", strings.TrimSpace(line), err, out)
			}
			ran++
		}
	}
	if ran < 6 {
		t.Errorf("%d commands of the page ran", ran)
	}
}
