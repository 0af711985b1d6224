package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// links returns the entries of a symlink tar as "name" for a directory and "name -> target" for a link.
func links(t *testing.T, b []byte) string {
	t.Helper()
	var out []string
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 315532800 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: time %d, owner %d %q", h.Name, h.ModTime.Unix(), h.Uid, h.Uname)
		}
		line := h.Name
		if h.Typeflag == tar.TypeSymlink {
			line += " -> " + h.Linkname
		}
		out = append(out, line)
	}
}

func TestSymlinkTarFollowsLndir(t *testing.T) {
	m := storetest.New()
	long := strings.Repeat("n", 120)
	a := m.Add("a-1", storetest.Files{
		"bin/x":        storetest.Exec("x"),
		"bin/rel":      storetest.Link("../share/doc"),
		"bin/backup~":  storetest.File(""),
		"dir~/kept":    storetest.File(""),
		".git/config":  storetest.File(""),
		"src/CVS/Root": storetest.File(""),
		"src/.hidden":  storetest.File(""),
		"empty":        storetest.Dir(),
		"clash":        storetest.File("a file here, a directory in b"),
		"mixed":        storetest.Dir(),
		long:           storetest.Link("/nix/store/" + long),
	})
	b := m.Add("b-1", storetest.Files{
		"bin/x":      storetest.Exec("the first content wins"),
		"bin/y":      storetest.Exec("y"),
		"clash/lost": storetest.File(""),
		"mixed":      storetest.File("a file here, a directory in a"),
	})
	tar, err := layer.SymlinkTar(ctx, m, []store.Path{a, b})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"./", "./bin/", "./bin/rel -> ../share/doc", "./bin/x -> " + a.Abs() + "/bin/x", "./bin/y -> " + b.Abs() + "/bin/y",
		"./clash -> " + a.Abs() + "/clash", "./dir~/", "./dir~/kept -> " + a.Abs() + "/dir~/kept", "./empty/", "./mixed/",
		"./" + long + " -> /nix/store/" + long, "./src/", "./src/.hidden -> " + a.Abs() + "/src/.hidden",
	}, "\n")
	if got := links(t, tar); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSymlinkTarOfOtherThanDirectories(t *testing.T) {
	m := storetest.New()
	dir := m.Add("dir-1", storetest.Files{"sub/file": storetest.File("")})
	inside := m.Add("inside-1", storetest.Files{"": storetest.Link(dir.Abs() + "/sub")}, dir)
	outside := m.Add("outside-1", storetest.Files{"": storetest.Link("/etc")})
	loop := m.Add("loop-1", storetest.Files{"": storetest.Link("../store/loop")})
	file := m.Add("file-1", storetest.Files{"": storetest.File("text")})
	b, err := layer.SymlinkTar(ctx, m, []store.Path{inside})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := links(t, b), "./\n./file -> "+inside.Abs()+"/file"; got != want {
		t.Errorf("a link to a directory of the store: got %s, want %s", got, want)
	}
	for p, kind := range map[store.Path]error{outside: fs.ErrNotExist, loop: fs.ErrNotExist, file: errors.ErrUnsupported} {
		if _, err := layer.SymlinkTar(ctx, m, []store.Path{p}); !errors.Is(err, kind) {
			t.Errorf("%s: %v", p, err)
		}
	}
}
