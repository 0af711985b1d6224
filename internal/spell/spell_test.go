package spell_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/spell"
)

func TestNear(t *testing.T) {
	words := []string{"listen", "store", "Env", "ExposedPorts", "nar-cache", "mirror", "mirrors"}
	for word, want := range map[string]string{
		"listen": "listen", "LISTN": "listen", "lisetn": "listen", "stores": "store", "env": "Env", "envs": "Env", "exposed_ports": "ExposedPorts",
		"nar_cache": "nar-cache", "narcahce": "nar-cache", "mirror": "mirror", "mirrorss": "mirrors",
		"": "", "e": "", "x": "", "port": "", "nonsense": "", strings.Repeat("a", 1<<20): "",
	} {
		if got := spell.Near(word, slices.Values(words)); got != want {
			t.Errorf("%.20s: %q, not %q", word, got, want)
		}
	}
	if s := spell.DidYouMean("stroe", slices.Values(words)); s != ": did you mean store?" {
		t.Error(s)
	}
	if s := spell.DidYouMean("nonsense", slices.Values(words)); s != "" {
		t.Error(s)
	}
}

func FuzzNear(f *testing.F) {
	f.Add("a", "b")
	f.Add("stroe", "store")
	f.Fuzz(func(t *testing.T, a, b string) {
		if n := spell.Near(a, slices.Values([]string{b})); n != "" && n != b {
			t.Errorf("%q is no word", n)
		}
		if len(a) <= 64 && strings.Trim(a, "-_") != "" && spell.Near(a, slices.Values([]string{a})) != a {
			t.Errorf("%q is not near itself", a)
		}
	})
}

// BenchmarkNear is over as many words as nixpkgs has packages.
func BenchmarkNear(b *testing.B) {
	var words []string
	for i := range 100_000 {
		words = append(words, fmt.Sprintf("python3.12-package%d", i))
	}
	for b.Loop() {
		spell.Near("python3.12-pakage99999x", slices.Values(words))
	}
}
