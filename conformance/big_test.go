package conformance_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// big is a server with the image of 97 layers, under the name e-big.
func big(t *testing.T) options {
	t.Helper()
	all := slices.DeleteFunc(goldens(t), func(g golden) bool { return g.Name != "e-big" })
	return images(imagesOf(t, all))
}

// The first pull hashes 416 MB. The server is killed in the midst of that: after it has read a quarter.
func TestKilledWhileHashing(t *testing.T) {
	endToEnd(t)
	o := big(t)
	want := start(t, o).manifest(t, "e-big", "latest", ociManifest)

	s := start(t, o)
	before := s.bytesRead(t)
	go ask(s.URL + "/v2/e-big/manifests/latest")
	eventually(t, "100 MB are hashed", func() bool { return s.bytesRead(t) > before+100e6 })
	s.kill()

	o.Data = s.Data
	again := start(t, o)
	if got := again.image(t, "e-big", "latest", ociManifest)[0]; got.Digest != want.Digest {
		t.Errorf("after kill -9 the manifest is %s, want %s", got.Digest, want.Digest)
	}
}

// bytesRead is how much the server has read so far, by the kernel's count.
func (s *server) bytesRead(t *testing.T) (n float64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %f", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A pull that is under way when the server is told to end gets all its bytes; nobody new gets in.
func TestTerminatedServerLetsAPullEnd(t *testing.T) {
	endToEnd(t)
	s := start(t, big(t))
	m := s.manifest(t, "e-big", "latest", ociManifest)
	layer := slices.MaxFunc(m.Layers, func(a, b descriptor) int { return int(a.Size - b.Size) })
	path := "/v2/e-big/blobs/" + layer.Digest
	resp := s.get(t, path)
	defer resp.Body.Close()
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}

	s.terminate(t)
	eventually(t, "nobody new gets in", func() bool { return !s.reachable(t) })
	checkBlob(t, path, io.MultiReader(strings.NewReader(string(first)), resp.Body), layer)
	s.awaitExit(t)
}

func (s *server) reachable(t *testing.T) bool {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// A second server on the data of the first must not read 416 MB again to say what it said.
func TestRestartReadsNothingAgain(t *testing.T) {
	endToEnd(t)
	o := big(t)
	first := start(t, o)
	want := first.manifest(t, "e-big", "latest", ociManifest)
	first.stop(t)

	o.Data = first.Data
	s := start(t, o)
	before := s.bytesRead(t)
	if got := s.manifest(t, "e-big", "latest", ociManifest); got.Digest != want.Digest {
		t.Errorf("after a restart the manifest is %s, want %s", got.Digest, want.Digest)
	}
	if n := s.bytesRead(t) - before; n > 50e6 {
		t.Errorf("after a restart %.0f MB were read for a known manifest", n/1e6)
	}
	if got := s.status(t, "/v2/e-big/manifests/"+want.Digest); got != http.StatusOK {
		t.Errorf("the manifest by digest: %d", got)
	}
}

// A client may hold a digest that was given out before --data was lost: it asks for that first, and on another number
// of cores.
func TestWipedDataOfTheRealStore(t *testing.T) {
	endToEnd(t)
	hello := hash(helloPath(t))
	o := big(t)
	first := start(t, o)
	want := map[string]string{ // repository to digest
		"e-big": first.manifest(t, "e-big", "latest", ociManifest).Digest,
		"hello": first.manifest(t, "hello", hello, ociManifest).Digest,
	}
	first.stop(t)

	o.Env = []string{"GOMAXPROCS=1"}
	fresh := start(t, o)
	for repo, digest := range want {
		fresh.image(t, repo, digest)
	}
	if got := fresh.manifest(t, "hello", hello, ociManifest).Digest; got != want["hello"] {
		t.Errorf("hello is %s, want %s", got, want["hello"])
	}
}
