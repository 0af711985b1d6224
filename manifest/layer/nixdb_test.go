package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestNixDB: the files of a database are there, and it is another one when what it says would be.
func TestNixDB(t *testing.T) {
	s := storetest.New()
	lib := s.Add("lib-1", storetest.Files{"x": storetest.File("x")})
	app := s.Add("app-1", storetest.Files{"y": storetest.File("y")}, lib, storetest.Self)
	objects, err := store.Closure(ctx, s, app)
	if err != nil {
		t.Fatal(err)
	}
	m := newMaker(t, s)
	r := layer.NixDBRecipe(objects, []store.Path{app}, layer.Root)
	l := mustOpen(t, m, r)
	const want = "9016bf3d74e3b2077910ecc8b3bda6837b64edf749c3ce9ab9b3700d81ce8a8a"
	if got := l.DiffID().Hex; got != want {
		t.Errorf("digest is %s, not %s", got, want)
	}
	links := make(map[string]string)
	var names []string
	tr := tar.NewReader(bytes.NewReader(whole(t, l)))
	for h, err := tr.Next(); !errors.Is(err, io.EOF); h, err = tr.Next() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		links[h.Name] = h.Linkname
	}
	if !slices.Contains(names, "./nix/var/nix/db/db.sqlite") || links["./nix/var/nix/gcroots/docker/"+string(app)] != app.Abs() {
		t.Errorf("names are %q", names)
	}
	s.Edit(app, func(o *store.Object) { o.Deriver, o.Registered = lib, 7 })
	if info, err := restarted(t, s, m).Describe(ctx, r); err != nil || info.DiffID != l.DiffID() {
		t.Errorf("with another deriver it is %v, %v", info, err)
	}
	s.Edit(app, func(o *store.Object) { o.References = nil })
	if _, err := newMaker(t, s).Describe(ctx, r); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without references: %v", err)
	}
}
