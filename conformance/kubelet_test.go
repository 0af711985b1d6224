package conformance_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// kubelet skips a test of a real kubelet, to build which takes minutes, unless the run is meant to have it:
// NIXREG_E2E=1 NIXREG_KUBELET=1 go test -run TestKubelet.
func kubelet(t *testing.T) {
	t.Helper()
	endToEnd(t)
	if os.Getenv("NIXREG_KUBELET") != "1" {
		t.Skip("builds a kubelet, which takes minutes: set NIXREG_KUBELET=1 to run it")
	}
}

// A real kubelet pulls an image of a made-up host through a mirror, and runs it as a pod.
func TestKubelet(t *testing.T) {
	kubelet(t)
	mirror := local
	mirror.Args = slices.Concat(mirror.Args, serveAs(t))
	s := start(t, mirror)
	out := output(t, nil, "clients/kubelet.sh", strings.TrimPrefix(s.URL, "http://"), mirrored+"/hello")
	if !strings.Contains(out, `"phase":"Succeeded"`) || !strings.Contains(out, "Hello, world!") {
		t.Errorf("the pod: %s", out)
	}
	t.Logf("the pod:\n%s", out)
}

// The pod of the page about mirrors runs as it stands there, with its image pulled through from another registry.
func TestKubeletPullsThrough(t *testing.T) {
	kubelet(t)
	u, _ := distributed(t, nil)
	s := start(t, options{Args: []string{"--demo", "--mirror", "docker.io=" + u.URL}})
	pod := snippet(t, mirrorPage, "kind: Pod", "\nspec:\n", "\nspec:\n  hostNetwork: true\n")
	out := output(t, []string{"NIXREG_POD=" + pod}, "clients/kubelet.sh", strings.TrimPrefix(s.URL, "http://"), "docker.io/library/hello")
	if !strings.Contains(out, `"phase":"Succeeded"`) || !strings.Contains(out, "Hello from nixreg!") {
		t.Errorf("the pod: %s", out)
	}
	if u.count("GET /v2/library/hello/") == 0 {
		t.Error("the upstream was asked for nothing")
	}
}
