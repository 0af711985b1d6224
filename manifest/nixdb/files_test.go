package nixdb_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/nixdb"
)

// The five paths of a small program, as one finds them.
const (
	hello = "/nix/store/aanz2glzys8lgzqwvxkp0kmbpv6cs1vk-hello-2.12.1"
	glibc = "/nix/store/b0vb3sq3ngg6mbmk65ibxrs5gxvbs6f4-glibc-2.38-44"
	idn   = "/nix/store/5g8cpikqqhxdvm1b7h6qrp6yjm6hvyq5-libidn2-2.3.7"
)

func helloPaths() []nixdb.Path {
	return []nixdb.Path{
		{
			Path: hello, NarHash: "sha256:" + strings.Repeat("1a", 32), NarSize: 226_552, References: []string{hello, glibc},
			Deriver: "/nix/store/lhjqjb5b0zhg1mjh6lz2b6jkq7lxsdi4-hello-2.12.1.drv",
			Sigs:    []string{"cache.example.org-1:AAAA", "other-1:BBBB"},
		},
		{Path: glibc, NarHash: "sha256:" + strings.Repeat("2b", 32), NarSize: 29_000_000, References: []string{idn, glibc}},
		{Path: idn, NarHash: "sha256:" + strings.Repeat("3c", 32), References: []string{idn}, CA: "fixed:r:sha256:" + strings.Repeat("0", 52)},
	}
}

// TestFrozen holds the bytes of the format: a digest that changes changes images that clients have pinned.
func TestFrozen(t *testing.T) {
	long := newGenerator(11).closure(20, 4)
	long[3].Sigs = []string{strings.Repeat("s", 20_000)}
	for _, tt := range []struct {
		name, want string
		paths      []nixdb.Path
	}{
		{"none", "9434a844afd6623bf41d68d8fa8dd379aaea85402c18b0823cde389f5bdf7af7", nil},
		{"hello", "a2a1d1b158d5d45332c6f6599858034d12a47f9158e4744fad1b1866dec3147b", helloPaths()},
		{"long row", "4c6fc2e032584082343ef085fbd848b92b0dee4a2cdb032f72ad5c06358fe2ef", long},
		{"trees of three levels", "0095f491ba9cf0cadeacb60135265df6fb3ddf6d2199c45e0b9daa989880686f", newGenerator(12).closure(5000, 10)},
	} {
		b, err := nixdb.Database(tt.paths)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != tt.want {
			t.Errorf("%s of %s is %x, want %s", nixdb.Format, tt.name, sum, tt.want)
		}
	}
}

func TestOrderChangesNothing(t *testing.T) {
	paths := newGenerator(9).closure(300, 10)
	want, err := nixdb.Database(paths)
	if err != nil {
		t.Fatal(err)
	}
	g := rand.New(rand.NewPCG(1, 1))
	mixed := slices.Clone(paths)
	g.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	for i := range mixed {
		refs := slices.Clone(mixed[i].References)
		g.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
		mixed[i].References = refs
	}
	before := fmt.Sprint(mixed)
	if got, err := nixdb.Database(mixed); err != nil || !slices.Equal(got, want) {
		t.Errorf("another order gives other bytes (%v)", err)
	}
	if fmt.Sprint(mixed) != before {
		t.Error("the paths were changed")
	}
}

func TestFiles(t *testing.T) {
	files, err := nixdb.Files(helloPaths(), []string{idn, hello, idn})
	if err != nil {
		t.Fatal(err)
	}
	db, err := nixdb.Database(helloPaths())
	if err != nil {
		t.Fatal(err)
	}
	dir, link := fs.ModeDir|0o755, fs.ModeSymlink|0o777
	want := []nixdb.File{
		{Name: "nix", Mode: dir},
		{Name: "nix/store", Mode: dir},
		{Name: "nix/store/.links", Mode: dir},
		{Name: "nix/var", Mode: dir},
		{Name: "nix/var/nix", Mode: dir},
		{Name: "nix/var/nix/db", Mode: dir},
		{Name: "nix/var/nix/db/big-lock", Mode: 0o600},
		{Name: "nix/var/nix/db/db.sqlite", Mode: 0o644, Data: db},
		{Name: "nix/var/nix/db/schema", Mode: 0o644, Data: []byte("10")},
		{Name: "nix/var/nix/gcroots", Mode: dir},
		{Name: "nix/var/nix/gcroots/docker", Mode: dir},
		{Name: "nix/var/nix/gcroots/docker/5g8cpikqqhxdvm1b7h6qrp6yjm6hvyq5-libidn2-2.3.7", Mode: link, Link: idn},
		{Name: "nix/var/nix/gcroots/docker/aanz2glzys8lgzqwvxkp0kmbpv6cs1vk-hello-2.12.1", Mode: link, Link: hello},
		{Name: "nix/var/nix/gcroots/profiles", Mode: link, Link: "/nix/var/nix/profiles"},
		{Name: "nix/var/nix/profiles", Mode: dir},
		{Name: "nix/var/nix/temproots", Mode: dir},
	}
	if !reflect.DeepEqual(files, want) {
		t.Errorf("files are\n%.2000v, want\n%.2000v", files, want)
	}
}

func TestErrors(t *testing.T) {
	for name, spoil := range map[string]func(p *nixdb.Path){
		"no path":               func(p *nixdb.Path) { p.Path = "" },
		"elsewhere":             func(p *nixdb.Path) { p.Path = "/gnu/store/" + p.Path[len("/nix/store/"):] },
		"file below":            func(p *nixdb.Path) { p.Path += "/bin" },
		"no name":               func(p *nixdb.Path) { p.Path = p.Path[:len("/nix/store/")+33] },
		"no dash":               func(p *nixdb.Path) { p.Path = strings.Replace(p.Path, "-", "0", 1) },
		"letter e in hash":      func(p *nixdb.Path) { p.Path = strings.Replace(p.Path, "q", "e", 1) },
		"long name":             func(p *nixdb.Path) { p.Path += strings.Repeat("a", 211) },
		"NUL in name":           func(p *nixdb.Path) { p.Path += "\x00" },
		"no hash":               func(p *nixdb.Path) { p.NarHash = "" },
		"hash of another kind":  func(p *nixdb.Path) { p.NarHash = "sha512:" + p.NarHash[7:] },
		"short hash":            func(p *nixdb.Path) { p.NarHash = p.NarHash[:len(p.NarHash)-2] },
		"upper case hash":       func(p *nixdb.Path) { p.NarHash = "sha256:" + strings.ToUpper(p.NarHash[7:]) },
		"hash that is no hex":   func(p *nixdb.Path) { p.NarHash = p.NarHash[:70] + "g" },
		"negative size":         func(p *nixdb.Path) { p.NarSize = -1 },
		"deriver's base name":   func(p *nixdb.Path) { p.Deriver = p.Path[len("/nix/store/"):] + ".drv" },
		"reference elsewhere":   func(p *nixdb.Path) { p.References = append(p.References, glibc+"-other") },
		"empty reference":       func(p *nixdb.Path) { p.References = append(p.References, "") },
		"content address":       func(p *nixdb.Path) { p.CA = "fixed:r:\n" },
		"empty signature":       func(p *nixdb.Path) { p.Sigs = append(p.Sigs, "") },
		"blank in a signature":  func(p *nixdb.Path) { p.Sigs = []string{"a:b c:d"} },
		"signature not in UTF8": func(p *nixdb.Path) { p.Sigs = []string{"a:\xff"} },
		"twice":                 func(p *nixdb.Path) { p.Path = glibc },
	} {
		paths := helloPaths()
		spoil(&paths[2])
		if b, err := nixdb.Database(paths); !errors.Is(err, fs.ErrInvalid) || b != nil {
			t.Errorf("%s: %d bytes, error %v", name, len(b), err)
		}
		if files, err := nixdb.Files(paths, nil); !errors.Is(err, fs.ErrInvalid) || files != nil {
			t.Errorf("%s: %d files, error %v", name, len(files), err)
		}
	}
	for _, root := range []string{"", hello + "/bin/hello", glibc + "x", "/nix/store"} {
		if files, err := nixdb.Files(helloPaths(), []string{glibc, root}); !errors.Is(err, fs.ErrInvalid) || files != nil {
			t.Errorf("root %q: %d files, error %v", root, len(files), err)
		}
	}
}

func BenchmarkDatabase(b *testing.B) {
	for _, n := range []int{100, 1000, 100_000} {
		paths := newGenerator(1).closure(n, 20)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				db, err := nixdb.Database(paths)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(db)))
				b.ReportMetric(float64(len(db)), "bytes")
			}
		})
	}
}
