package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nixregPull runs nixreg pull and returns what it prints.
func nixregPull(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, nil, binary, append([]string{"pull", "--tls-verify=false"}, args...)...)
}

// pull makes the archive with nixreg.
func (c *pullCase) pull(t *testing.T, args ...string) (archive []byte, printed string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	all := []string{"docker://" + c.registry(t) + "/" + pullRepository + "@" + c.Digest, "-o", out, "--os", c.OS, "--arch", c.Arch,
		"--final-name", c.FinalName, "--final-tag", c.FinalTag}
	if c.Variant != "" {
		all = append(all, "--variant", c.Variant)
	}
	printed = nixregPull(t, append(all, args...)...)
	return readFile(t, out), printed
}

// skopeo makes the archive as nixpkgs' pullImage does.
func (c *pullCase) skopeo(t *testing.T) []byte {
	t.Helper()
	tmp := t.TempDir()
	out := filepath.Join(tmp, "image.tar")
	args := []string{"--insecure-policy", "--tmpdir=" + tmp, "--override-os", c.OS, "--override-arch", c.Arch}
	if c.Variant != "" {
		args = append(args, "--override-variant", c.Variant)
	}
	args = append(args, "copy", "--src-tls-verify=false", "docker://"+c.registry(t)+"/"+pullRepository+"@"+c.Digest,
		"docker-archive://"+out+":"+c.FinalName+":"+c.FinalTag)
	if _, err := debian(t, "skopeo").run(t.Context(), tmp, args...); err != nil {
		t.Fatal(err)
	}
	return readFile(t, out)
}

// The hashes that people's Nix expressions have come from skopeo: both archives must be the same to the byte.
func TestPullWritesWhatSkopeoWrites(t *testing.T) {
	endToEnd(t)
	for _, name := range pullCaseNames(t) {
		t.Run(name, func(t *testing.T) {
			c := readPullCase(t, name)
			from := c
			if c.Skopeo != "" {
				from = readPullCase(t, c.Skopeo)
			}
			theirs := from.skopeo(t)
			ours, _ := c.pull(t)
			if sri(theirs) != c.Archive {
				t.Errorf("skopeo's archive is %s, in %s it is %s", sri(theirs), pullCases, c.Archive)
			}
			if !bytes.Equal(ours, theirs) {
				t.Errorf("nixreg's archive (%d bytes, %s) is not skopeo's (%d bytes, %s)", len(ours), sri(ours), len(theirs), sri(theirs))
			}
		})
	}
}

// What pull says of a layer that is said to be zstd: skopeo has no archive of it to be compared with.
func TestSkopeoRefusesZstd(t *testing.T) {
	endToEnd(t)
	c := readPullCase(t, "zstd")
	tmp := t.TempDir()
	out, err := debian(t, "skopeo").run(t.Context(), tmp, "--insecure-policy", "copy", "--src-tls-verify=false",
		"docker://"+c.registry(t)+"/"+pullRepository+"@"+c.Digest, "docker-archive:"+filepath.Join(tmp, "image.tar"))
	if err == nil || !strings.Contains(err.Error(), "zstd compression is not supported") {
		t.Errorf("skopeo copy: %q, %v", out, err)
	}
}

// pullImage has the arguments of nixpkgs' own: Nix refuses a call with others.
const pullImage = `{ imageName, imageDigest, hash, os ? "linux", arch ? "host", variant ? "", finalImageName ? imageName,
	finalImageTag ? "latest", tlsVerify ? true, name ? "" }@given: given`

// The expression is Nix's own to read, and so is the JSON; the hash is the one that Nix takes of the file.
func TestPullPrintsNix(t *testing.T) {
	endToEnd(t)
	c := readPullCase(t, "index-oci-armv7")
	dir := t.TempDir()
	for flag, call := range map[string]string{"--print-nix": "%s", "--json": "pullImage (builtins.fromJSON ''%s'')"} {
		archive, printed := c.pull(t, flag)
		file := filepath.Join(dir, "image.tar")
		if err := os.WriteFile(file, archive, 0o644); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"imageDigest": c.Digest, "finalImageName": c.FinalName, "finalImageTag": c.FinalTag, "arch": "arm", "variant": "v7",
			"hash": strings.TrimSpace(output(t, nixEnv, "nix", "--experimental-features", "nix-command", "hash", "file", file)),
		}
		var got map[string]any
		expression := "let pullImage = " + pullImage + "; in " + fmt.Sprintf(call, printed)
		evaluated := output(t, nixEnv, "nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
		if err := json.Unmarshal([]byte(evaluated), &got); err != nil {
			t.Fatalf("%v: %s", err, evaluated)
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %v, want %q, in\n%s", flag, name, got[name], value, printed)
			}
		}
		if name, _ := got["imageName"].(string); !strings.HasSuffix(name, "/"+pullRepository) || got["tlsVerify"] != false {
			t.Errorf("%s printed %s", flag, printed)
		}
	}
}

// What nixreg serves, nixreg pulls, and Docker loads as the same image and runs.
func TestDockerLoadsAndRunsWhatWasPulled(t *testing.T) {
	endToEnd(t)
	s := start(t, demo)
	config := s.image(t, "hello", "latest", dockerManifest)[0].Config.Digest
	file := filepath.Join(t.TempDir(), "hello.tar")
	nixregPull(t, "docker://"+s.Host+"/hello", "-o", file, "--final-name", "nixreg-pulled", "--final-tag", "x")
	const image = "nixreg-pulled:x"
	t.Cleanup(func() { program{path: "docker"}.undo(t.Context(), "image", "rm", "--force", image) })
	docker(t, "load", "--quiet", "--input", file)
	if got := inspect(t, image).ID; got != config {
		t.Errorf("loaded image is %s, its configuration %s", got, config)
	}
	if got := run(t, image); !strings.HasPrefix(got, "Hello") {
		t.Errorf("the demo says %q, want a greeting", got)
	}
}

// Every sh command of the page is run as it stands there.
func TestPullPageCommands(t *testing.T) {
	endToEnd(t)
	stop := func() {}
	t.Cleanup(func() { program{path: "docker"}.undo(t.Context(), "image", "rm", "--force", "hello") })
	for _, command := range shellCommands(t, "../docs/pull.md") {
		if isServe(command) {
			_, stop = background(t, command)
			continue
		}
		out := output(t, nil, "bash", "-euc", "cd .. && "+offline(command))
		if strings.HasPrefix(command, "docker run") && !strings.HasPrefix(out, "Hello") {
			t.Errorf("%s: prints %q, want a greeting", command, out)
		}
	}
	stop()
}

// shellCommands are the lines of a page's sh blocks, in order.
func shellCommands(t *testing.T, page string) []string {
	t.Helper()
	var commands []string
	in := false
	for line := range strings.Lines(string(readFile(t, page))) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			in = line == "```sh"
		case in && line != "":
			commands = append(commands, line)
		}
	}
	return commands
}
