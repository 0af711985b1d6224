package manifest_test

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestLayerOfTwoPaths: two images whose last layers are the same bytes of different paths. That one path is deleted
// does no harm to the image of the other.
func TestLayerOfTwoPaths(t *testing.T) {
	m, lib, _ := withHello()
	dir := t.TempDir()
	paths := make(map[string]store.Path)
	for _, name := range []string{"a", "b"} {
		paths[name] = m.Add(name+"-customisation-layer", storetest.Files{
			"layer.tar": storetest.File("layer"), "checksum": storetest.File(fmt.Sprintf("%x", sha256.Sum256([]byte("layer"))) + "\n"),
		}, lib)
		write(t, filepath.Join(dir, name+".json"), confFor(t, m, lib, map[string]any{"customisation_layer": paths[name].Abs()}))
	}
	src := newSource(t, dir, m)
	a := inspect(t, src, "a", "latest")
	inspect(t, src, "b", "latest")
	m.Delete(paths["b"])
	for _, l := range a.Layers {
		digest(t, src, "a", l.Digest, nil)
	}
}
