package conformance_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"
)

// splitPackages is a channel's list with the package split.
const splitPackages = `{"version":2,"packages":{"split":{"name":"split-1.7","outputs":{"bin":null,"man":null,"out":null},` +
	`"meta":{"mainProgram":"split","outputsToInstall":["bin","man"]}}}}`

// A package whose programs are in the output bin is one image with its programs: built on pull, found in the store afterwards and by
// another server, in a binary cache, and through a channel. Docker runs it.
func TestProgramsInOutputBin(t *testing.T) {
	endToEnd(t)
	for kind, o := range map[string]options{"file": byFile, "flake": byFlake} {
		t.Run(kind, func(t *testing.T) { programsInOutputBin(t, o) })
	}
}

func programsInOutputBin(t *testing.T, o options) {
	n := newNix(t, "hello")
	builds := n.start(t, o)
	builds.pullBuilt(t, n, "split", "split-1.7-bin")
	want := builds.manifest(t, "split", "latest", ociManifest).Digest

	bin := n.named(t, "split-1.7-bin")
	paths := slices.Concat(bin, n.named(t, "split-1.7"), n.named(t, "split-1.7-man"))
	dir := filepath.Join(t.TempDir(), "cache")
	n.nix(t, "nix", append([]string{"--extra-experimental-features", "nix-command", "copy", "--to", "file://" + dir}, paths...)...)
	remote := localServer(t, http.FileServer(http.Dir(dir)))
	channel := newChannel(t, paths, nil)
	channel.files["packages.json.br"] = brotlied(t, []byte(splitPackages))
	for from, s := range map[string]*server{
		"the build again":       builds,
		"the store":             n.start(t, options{}),
		"a cache":               start(t, options{Args: []string{"--store", "file://" + dir + "?trusted=true"}}),
		"a channel":             start(t, named(t, localServer(t, channel), remote.URL+"?trusted=true")),
		"a build of a new data": n.start(t, o),
	} {
		for _, tag := range []string{"latest", "1.7", "1.7-bin"} {
			if got := s.manifest(t, "split", tag, ociManifest).Digest; got != want {
				t.Errorf("from %s split:%s is %s, not %s", from, tag, got, want)
			}
		}
		if out := s.manifest(t, "split", "1.7-out", ociManifest).Digest; out == want {
			t.Errorf("from %s the output out is the program", from)
		}
		pull(t, s.Host+"/split")
		if got := run(t, s.Host+"/split"); got != greets {
			t.Errorf("from %s split says %q", from, got)
		}
	}
	if n.begun(t, "split-1.7") != 1 {
		t.Errorf("split was built %d times", n.begun(t, "split-1.7"))
	}
}
