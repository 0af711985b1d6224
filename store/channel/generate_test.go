package channel

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/ulikunitz/xz"

	"github.com/nixreg/nixreg/store"
)

// generator makes channels of the shape nixpkgs has: a third of the paths are other outputs, three systems have most
// packages, and there are half as many attributes as paths, each with two and a half KB of description.
type generator struct {
	rand  *rand.Rand
	words []string
}

func newGenerator() *generator {
	g := &generator{rand: rand.New(rand.NewPCG(1, 2))}
	for range 5000 {
		g.words = append(g.words, g.text("abcdefghijklmnopqrstuvwxyz", 3+g.rand.IntN(7)))
	}
	return g
}

func (g *generator) text(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[g.rand.IntN(len(alphabet))]
	}
	return string(b)
}

func (g *generator) word() string { return g.words[g.rand.IntN(len(g.words))] }

var prefixes = []string{"", "", "python3.13-", "python3.12-", "perl5.42.0-", "ocaml5.3.0-", "r-", "emacs-"}

// write writes the two files' contents, unpacked, for about n paths.
func (g *generator) write(paths, packages io.Writer, n int) {
	fmt.Fprint(packages, `{"version":2,"packages":{`)
	separator := ""
	for i, written := 0, 0; written < n; i++ {
		name := fmt.Sprintf("%s%s-%s-%d.%d.%d", prefixes[g.rand.IntN(len(prefixes))], g.word(), g.word(), g.rand.IntN(20), g.rand.IntN(40), i)
		outputs := []string{"out", "dev", "man"}[:1+g.rand.IntN(2)*g.rand.IntN(3)]
		for range 1 + g.rand.IntN(3) {
			for _, o := range outputs {
				suffix := strings.TrimSuffix("-"+o, "-out")
				fmt.Fprintf(paths, "%s/%s-%s%s\n", store.Dir, g.text(store.Base32, store.HashLen), name, suffix)
				written++
			}
		}
		for range 1 + g.rand.IntN(2) {
			fmt.Fprint(packages, separator)
			g.attribute(packages, i, name, outputs)
			separator = ","
		}
	}
	fmt.Fprint(packages, `}}`)
}

func (g *generator) attribute(w io.Writer, i int, name string, outputs []string) {
	var out strings.Builder
	for k, o := range outputs {
		if k > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "%q:null", o)
	}
	fmt.Fprintf(w, `"%sPackages.%s-%d":{"meta":{"available":true,"broken":false,"description":"`, g.word(), g.word(), i)
	for range 40 {
		fmt.Fprint(w, g.word(), " ")
	}
	fmt.Fprint(w, `\n","license":{"deprecated":false,"free":true,"fullName":"MIT License","redistributable":true,"shortName":"mit","spdxId":"MIT","url":"https://spdx.org/licenses/MIT.html"},"maintainers":[`)
	fmt.Fprintf(w, `{"email":"%s@example.org","github":"%[1]s","githubId":%d,"name":"%s"}],"platforms":[`, g.word(), g.rand.IntN(1<<20), g.word())
	for k := range 60 {
		fmt.Fprintf(w, `"platform%d-%d",`, k, k*7)
	}
	fmt.Fprintf(w, `"x86_64-linux"],"position":"pkgs/%s/default.nix:%d","unfree":false},"name":%q,"outputName":"out","outputs":{%s},"pname":"x","system":"x86_64-linux","version":"1"}`,
		g.word(), i, name, out.String())
}

// channelFolder writes a channel's two files to a new folder. No packages, no second file.
func channelFolder(tb testing.TB, paths, packages string) string {
	tb.Helper()
	dir := tb.TempDir()
	writeChannel(tb, dir, paths, packages)
	return dir
}

func writeChannel(tb testing.TB, dir, paths, packages string) {
	tb.Helper()
	replaceFile(tb, filepath.Join(dir, pathsFile), xzOf(tb, paths))
	if packages != "" {
		replaceFile(tb, filepath.Join(dir, packagesFile), brotliOf(tb, packages))
	}
}

// replaceFile gives the file a new inode, so that it is seen as another whatever the clock says.
func replaceFile(tb testing.TB, name string, data []byte) {
	tb.Helper()
	must(tb, os.WriteFile(name+".tmp", data, 0o666))
	must(tb, os.Rename(name+".tmp", name))
}

func xzOf(tb testing.TB, s string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	must(tb, err)
	_, err = io.WriteString(w, s)
	must(tb, err)
	must(tb, w.Close())
	return b.Bytes()
}

func brotliOf(tb testing.TB, s string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := brotli.NewWriterLevel(&b, 4)
	_, err := io.WriteString(w, s)
	must(tb, err)
	must(tb, w.Close())
	return b.Bytes()
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
