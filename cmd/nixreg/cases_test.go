package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/cases"
)

// TestWarningOfReadyMade: check, inspect, the log and healthz tell of a Cmd that is text in a conf.json.
func TestWarningOfReadyMade(t *testing.T) {
	runCase(t, "i3.txt")
}

// TestCaseD2ReasonBehindHead: the log says how to see the reason that a HEAD has no place for.
func TestCaseD2ReasonBehindHead(t *testing.T) {
	cases.Open(t, "D2")
	runCase(t, "d2.txt")
}

// TestCaseD2ReasonInTheDocs: one section says why clients print "not found" for everything, and how to see the reason.
func TestCaseD2ReasonInTheDocs(t *testing.T) {
	cases.Open(t, "D2")
	for _, page := range docs(t) {
		for section := range strings.SplitSeq(page, "\n## ") {
			if containsAll(section, "not found", "HEAD", "`nixreg inspect", "curl ") {
				return
			}
		}
	}
	t.Error("no section says how to see the reason of what clients call not found")
}

// TestCaseS6HostOfAnotherSite: on the loopback a server answers to its own names alone, and makes nothing for other sites.
func TestCaseS6HostOfAnotherSite(t *testing.T) {
	cases.Open(t, "S6")
	runCase(t, "s6.txt")
}

// TestCaseN1UntrustedCache: the answer for a name of a cache without a trusted key says so, and the log says it once.
func TestCaseN1UntrustedCache(t *testing.T) {
	runCase(t, "n1.txt")
}

// TestCaseN2ListOfNames: nixreg list, and a hint at the start that names something that is there.
func TestCaseN2ListOfNames(t *testing.T) {
	runCase(t, "n2.txt")
}

// TestCaseN3PodmanOverHTTP: podman, buildah and skopeo speak HTTPS unless they are told otherwise, also to localhost.
func TestCaseN3PodmanOverHTTP(t *testing.T) {
	plain := regexp.MustCompile(`podman (pull|run) .*--tls-verify=false .*localhost:5000/hello`)
	if !plain.MatchString(docs(t)["README.md"]) {
		t.Error("README.md has no command of podman for localhost")
	}
	command := regexp.MustCompile(`\b(podman|buildah|skopeo) (pull|run|from|copy|inspect|sync) .*localhost:[0-9]+/.*`)
	for name, page := range docs(t) {
		for _, line := range command.FindAllString(page, -1) {
			if !strings.Contains(line, "tls-verify=false") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// TestCaseN4AnotherMachine: one page, to which README.md leads, says what clients of other machines need: TLS first, and
// how each client is told to do without.
func TestCaseN4AnotherMachine(t *testing.T) {
	for name, page := range docs(t) {
		if !containsAll(page, "another machine", "insecure-registries", "insecure = true", "hosts.toml", "--tls-verify=false") {
			continue
		}
		if !regexp.MustCompile(`\bTLS\b`).MatchString(page[:strings.Index(page, "insecure")]) {
			t.Errorf("%s says how to do without TLS before it says how to have it", name)
		}
		if name != "README.md" && !strings.Contains(docs(t)["README.md"], "docs/"+name) {
			t.Errorf("README.md does not lead to %s", name)
		}
		return
	}
	t.Error("no page says what Docker, containerd and podman of another machine need")
}

// TestCaseN5Installing: nixreg can be had as a binary, an image, a flake and a module, and a page says how.
func TestCaseN5Installing(t *testing.T) {
	cases.Open(t, "N5")
	var all strings.Builder
	for _, page := range docs(t) {
		all.WriteString(page)
	}
	for what, command := range map[string]string{
		"a binary": `releases/|go install `, "an image": `docker run [^\n]*nixreg`, "a flake": `nix (run|profile install|build) [^\n]*nixreg`,
		"a module": `services\.nixreg\b`,
	} {
		if !regexp.MustCompile(command).MatchString(all.String()) {
			t.Errorf("no page says how to have nixreg as %s", what)
		}
	}
}

func containsAll(text string, words ...string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}
