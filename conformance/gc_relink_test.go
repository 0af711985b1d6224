package conformance_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// Nix's optimiser and its garbage collector touch files that a client is just pulling: the client gets every byte.
func TestOptimisedDuringAPull(t *testing.T) {
	endToEnd(t)
	n := newNix(t)
	large := bytes.Repeat([]byte("large file\n"), 6<<20) // more than the buffers of a connection take
	var paths []string
	for _, name := range []string{"one", "two", "three"} {
		dir := filepath.Join(n.sources, name)
		writeInto(t, dir, "large", large)
		writeInto(t, dir, "name", []byte(name))
		paths = append(paths, strings.TrimSpace(n.nix(t, "nix-store", "--add", dir)))
	}
	s := n.start(t, options{})
	repo := "store/" + hash(paths[0])
	var layer descriptor
	for _, l := range s.manifest(t, repo, "latest", ociManifest).Layers {
		if l.Size > layer.Size {
			layer = l
		}
	}
	for _, touch := range [][]string{{"--optimise"}, append([]string{"--delete"}, paths[1:]...)} {
		resp := s.get(t, "/v2/"+repo+"/blobs/"+layer.Digest)
		h := sha256.New()
		if _, err := io.CopyN(h, resp.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		n.nix(t, "nix-store", touch...)
		rest, err := io.Copy(h, resp.Body)
		resp.Body.Close()
		if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); err != nil || resp.StatusCode != http.StatusOK || got != layer.Digest {
			t.Errorf("beside nix-store %s: %d bytes, %s, %v; want %d of %s", touch, rest+1<<20, got, err, layer.Size, layer.Digest)
		}
	}
}
