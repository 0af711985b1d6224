package nixdb_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/nixdb"
)

const base32 = "0123456789abcdfghijklmnpqrsvwxyz"

// generator makes closures that depend on nothing but its seed.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 0))} }

func (g generator) word(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return string(b)
}

func (g generator) name(suffix string) string {
	return "/nix/store/" + g.word(32, base32) + "-" + g.word(1+g.IntN(211-len(suffix)), "abcXYZ019+-._?=") + suffix
}

func (g generator) hash() string {
	h := sha256.Sum256([]byte(g.word(8, base32)))
	return "sha256:" + hex.EncodeToString(h[:])
}

// closure makes n paths with up to so many references each, some with all a path can have.
func (g generator) closure(n, refs int) []nixdb.Path {
	paths := make([]nixdb.Path, n)
	for i := range paths {
		paths[i] = nixdb.Path{Path: g.name(""), NarHash: g.hash(), NarSize: g.Int64() >> g.IntN(63)}
		if g.IntN(2) == 0 {
			paths[i].Deriver = g.name(".drv")
		}
		if g.IntN(4) == 0 {
			paths[i].CA = "fixed:r:sha256:" + g.word(52, base32)
		}
		for range g.IntN(3) {
			paths[i].Sigs = append(paths[i].Sigs, "cache-1:"+g.word(86, base32)+"==")
		}
	}
	for i := range paths {
		for range g.IntN(refs + 1) {
			paths[i].References = append(paths[i].References, paths[g.IntN(n)].Path)
		}
	}
	return paths
}

// rows is what the tables must hold for these paths, a line for each row.
func rows(paths []nixdb.Path) (valid, refs []string) {
	paths = slices.SortedFunc(slices.Values(paths), func(a, b nixdb.Path) int { return strings.Compare(a.Path, b.Path) })
	ids := make(map[string]int)
	for i, p := range paths {
		ids[p.Path] = i + 1
	}
	for i, p := range paths {
		size := ""
		if p.NarSize != 0 {
			size = fmt.Sprint(p.NarSize)
		}
		valid = append(valid, fmt.Sprintf("%d|%s|%s|1|%s|%s||%s|%s", i+1, p.Path, p.NarHash, p.Deriver, size, strings.Join(p.Sigs, " "), p.CA))
		for _, r := range slices.Compact(slices.Sorted(slices.Values(p.References))) {
			refs = append(refs, fmt.Sprintf("%d|%d", i+1, ids[r]))
		}
	}
	return valid, refs
}
