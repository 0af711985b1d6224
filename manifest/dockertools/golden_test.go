package dockertools

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// golden is one vector made by nixpkgs' own stream_layered_image.py.
type golden struct {
	Name string
	Args struct {
		MaxLayers int
		Layering  string
		Contents  []string
	}
	ConfPath string          `json:"conf_path"`
	Conf     json.RawMessage `json:"conf"`
	BaseJSON struct {
		Path    string
		NarSize int64
	} `json:"base_json"`
	Customisation struct {
		Path     string
		Checksum string
		Size     int64
	} `json:"customisation_layer"`
	Graph []struct {
		Path       string
		NarSize    int64
		References []string
	}
	DiffIDs      []string `json:"diff_ids"`
	LayerSizes   []int64  `json:"layer_sizes"`
	ConfigDigest string   `json:"config_digest"`
	ConfigText   string   `json:"config_text"`
}

func (g *golden) layers(t testing.TB) [][]string {
	t.Helper()
	var conf struct {
		StoreLayers [][]string `json:"store_layers"`
	}
	if err := json.Unmarshal(g.Conf, &conf); err != nil {
		t.Fatal(err)
	}
	return conf.StoreLayers
}

// goldens loads the vectors whose name starts with prefix.
func goldens(t testing.TB, prefix string) []*golden {
	t.Helper()
	files, err := filepath.Glob("../../conformance/golden/" + prefix + "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden vectors %s*: %v", prefix, err)
	}
	var out []*golden
	for _, f := range files {
		if strings.HasSuffix(f, "environment.json") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		g := new(golden)
		if err := json.Unmarshal(b, g); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, g)
	}
	return out
}

func mustPath(t testing.TB, abs string) store.Path {
	t.Helper()
	p, rest, err := store.ParseAbs(abs)
	if err != nil || rest != "" {
		t.Fatalf("%s: %v", abs, err)
	}
	return p
}

// pathOf is a path whose hash part is one digit, again and again.
func pathOf(digit byte, name string) store.Path {
	hash := make([]byte, store.HashLen)
	for i := range hash {
		hash[i] = digit
	}
	return store.Path(string(hash) + "-" + name)
}
