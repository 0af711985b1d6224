package conformance_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The OCI distribution specification's own program, at the commit that these tests were written against.
const suite = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"

// passed is what the program prints if nothing failed and something passed; its exit code alone says less, as it is 0
// for a configuration that it does not understand.
var passed = regexp.MustCompile(`(?s)\nOCI Conformance Result: Pass\n.*\n  Pass\.+: +[1-9]`)

// With its push tests off the program panics after it printed its results, unless it is asked for one group at a time.
func TestOCIConformance(t *testing.T) {
	endToEnd(t)
	program := goTool(t, suite)
	s := start(t, demo)
	env := append(os.Environ(), suiteEnv(t, s, "hello")...)
	for _, group := range []string{"ping", "empty", "read-only", "missing-manifest", "invalid-digest-format"} {
		t.Run(group, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program)
			cmd.Dir = t.TempDir() // it writes its reports where it is
			cmd.Env = append(env, "OCI_FILTER_TEST=OCI Conformance Test/"+group)
			out, err := cmd.CombinedOutput()
			if err != nil || !passed.Match(out) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// suiteEnv tells the program that the registry is read-only and what there is to read.
func suiteEnv(t *testing.T, s *server, repo string) []string {
	t.Helper()
	var manifests, blobs []string
	for _, d := range s.image(t, repo, "latest", accepts["oci"]...) {
		manifests = append(manifests, d.Digest)
		for _, b := range d.blobs() {
			blobs = append(blobs, b.Digest)
		}
	}
	env := []string{
		"OCI_REGISTRY=" + strings.TrimPrefix(s.URL, "http://"), "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_REPO1=" + repo,
		"OCI_RO_DATA_TAGS=latest", "OCI_RO_DATA_MANIFESTS=" + strings.Join(manifests, " "),
		"OCI_RO_DATA_BLOBS=" + strings.Join(blobs, " "), "OCI_RO_DATA_REFERRERS=" + manifests[0],
	}
	for _, write := range []string{"PUSH", "BLOBS_DELETE", "BLOBS_ATOMIC", "MANIFESTS_DELETE", "MANIFESTS_ATOMIC", "TAGS_DELETE", "TAGS_ATOMIC"} {
		env = append(env, "OCI_API_"+write+"=false")
	}
	return env
}
