package conformance_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestKubelet lets a real kubelet pull an image of a made-up host through a mirror, and run it as a pod. To build the
// kubelet takes minutes, so it has a variable of its own: NIXREG_E2E=1 NIXREG_KUBELET=1 go test -run TestKubelet.
func TestKubelet(t *testing.T) {
	endToEnd(t)
	if os.Getenv("NIXREG_KUBELET") != "1" {
		t.Skip("builds a kubelet, which takes minutes: set NIXREG_KUBELET=1 to run it")
	}
	mirror := local
	mirror.Args = slices.Concat(mirror.Args, serveAs(t))
	s := start(t, mirror)
	out := output(t, nil, "clients/kubelet.sh", strings.TrimPrefix(s.URL, "http://"), mirrored+"/hello")
	if !strings.Contains(out, `"phase":"Succeeded"`) || !strings.Contains(out, "Hello, world!") {
		t.Errorf("the pod: %s", out)
	}
	t.Logf("the pod:\n%s", out)
}
