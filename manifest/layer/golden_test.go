package layer_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
)

func tinyCache(t *testing.T) store.Store {
	t.Helper()
	s, err := binarycache.Open(binarycache.Options{FS: os.DirFS("../../store/binarycache/testdata/tiny-cache"), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestSymlinkTarGolden holds the synthesised layer of links against what lndir and GNU tar made in nixpkgs' build: one
// content, two in either order, and one that holds only links.
func TestSymlinkTarGolden(t *testing.T) {
	s := tinyCache(t)
	for _, name := range []string{"t1-tiny", "t2-tiny-max4", "t3-tiny-pop", "t4-tiny-links-only", "t5-tiny-env"} {
		b, err := os.ReadFile("../../conformance/golden/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var g struct {
			Args struct {
				Contents []string
			}
			Customisation struct {
				Checksum string
				Size     int
			} `json:"customisation_layer"`
		}
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatal(err)
		}
		var contents []store.Path
		for _, c := range g.Args.Contents {
			p, _, err := store.ParseAbs(c)
			if err != nil {
				t.Fatal(err)
			}
			contents = append(contents, p)
		}
		tar, err := layer.SymlinkTar(context.Background(), s, contents)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(tar)
		if got := hex.EncodeToString(sum[:]); len(tar) != g.Customisation.Size || got != g.Customisation.Checksum {
			t.Errorf("%s: %d bytes, %s; want %d, %s", name, len(tar), got, g.Customisation.Size, g.Customisation.Checksum)
		}
	}
}
