package store_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func TestResolve(t *testing.T) {
	m := storetest.New()
	lib := m.Add("lib-1", storetest.Files{"lib/x.so": storetest.File("so"), "x": storetest.Link("lib/x.so")})
	gone := m.Add("gone-1", storetest.Files{"f": storetest.File("f")})
	m.Delete(gone)
	file := m.Add("file", storetest.Files{"": storetest.File("text")})
	alias := m.Add("alias", storetest.Files{"": storetest.Link(lib.Abs())})
	app := m.Add("app-1", storetest.Files{
		"bin/app": storetest.Exec("app"), "bin/self": storetest.Link("app"), "bin/up": storetest.Link("../bin/./app"), "sbin": storetest.Link("bin"),
		"so": storetest.Link(lib.Abs() + "/x"), "via": storetest.Link(alias.Abs() + "/lib"), "sibling": storetest.Link("../" + string(lib) + "/lib"),
		"passwd": storetest.Link("/etc/passwd"), "climb": storetest.Link("../../../etc/passwd"), "storedir": storetest.Link("/nix/store"),
		"dots": storetest.Link("/nix/store/../../etc/passwd"), "loop": storetest.Link("loop"), "ping": storetest.Link("pong"), "pong": storetest.Link("ping"),
		"dead": storetest.Link(gone.Abs() + "/f"), "through": storetest.Link(gone.Abs() + "/../" + string(lib) + "/x"),
		"dangling": storetest.Link("nowhere"), "empty": storetest.Link(""), "back": storetest.Link("sbin/../bin/self"), "links": storetest.Link("/nix/store/.links/x"),
	})
	for _, tt := range []struct {
		in   string
		path store.Path
		name string // "!" where nothing is to be found
	}{
		{app.Abs(), app, ""},
		{app.Abs() + "/", app, ""},
		{app.Abs() + "/bin/app", app, "bin/app"},
		{app.Abs() + "//bin/./app", app, "bin/app"},
		{app.Abs() + "/bin/self", app, "bin/app"},
		{app.Abs() + "/bin/up", app, "bin/app"},
		{app.Abs() + "/sbin/self", app, "bin/app"},
		{app.Abs() + "/so", lib, "lib/x.so"},
		{app.Abs() + "/via/x.so", lib, "lib/x.so"},
		{app.Abs() + "/sibling/x.so", lib, "lib/x.so"},
		{alias.Abs(), lib, ""},
		{alias.Abs() + "/x", lib, "lib/x.so"},
		{file.Abs(), file, ""},
		{file.Abs() + "/x", "", "!"},
		{app.Abs() + "/bin/app/x", "", "!"},
		{app.Abs() + "/nowhere", "", "!"},
		{app.Abs() + "/passwd", "", "!"},
		{app.Abs() + "/climb", "", "!"},
		{app.Abs() + "/dots", "", "!"},
		{app.Abs() + "/storedir", "", "!"},
		{app.Abs() + "/storedir/" + string(lib), lib, ""},
		{app.Abs() + "/via/../x", lib, "lib/x.so"}, // up from where the link leads, as the kernel has it
		{app.Abs() + "/back", app, "bin/app"},
		{app.Abs() + "/bin/../../" + string(lib) + "/lib", lib, "lib"},
		{app.Abs() + "/bin/app/..", "", "!"},
		{app.Abs() + "/../../../etc/passwd", "", "!"},
		{app.Abs() + "/..", "", "!"},
		{"/nix/store/" + string(lib) + "/../../store/" + string(lib), "", "!"},
		{"/nix/storeroom/" + string(lib), "", "!"},
		{app.Abs() + "/loop", "", "!"},
		{app.Abs() + "/ping/x", "", "!"},
		{app.Abs() + "/dead", "", "!"},
		{app.Abs() + "/through", "", "!"},
		{app.Abs() + "/dangling", "", "!"},
		{app.Abs() + "/empty", "", "!"},
		{app.Abs() + "/links", "", "!"},
		{gone.Abs() + "/f", "", "!"},
		{"/nix/store", "", "!"},
		{"/etc/passwd", "", "!"},
		{"relative", "", "!"},
		{"", "", "!"},
	} {
		p, nd, err := store.Resolve(t.Context(), m, tt.in)
		if tt.name == "!" {
			if !errors.Is(err, fs.ErrNotExist) || p != "" {
				t.Errorf("Resolve(%q) = %q, %q, %v; want fs.ErrNotExist", tt.in, p, nd.Name, err)
			}
			continue
		}
		if err != nil || p != tt.path || nd.Name != tt.name {
			t.Errorf("Resolve(%q) = %q, %q, %v; want %q, %q", tt.in, p, nd.Name, err, tt.path, tt.name)
		}
	}
}

func TestReadFile(t *testing.T) {
	m := storetest.New()
	lib := m.Add("lib-1", storetest.Files{"f": storetest.File("12345")})
	p := m.Add("p-1", storetest.Files{"d/f": storetest.Link(lib.Abs() + "/f"), "empty": storetest.File("")})
	for _, tt := range []struct {
		name  string
		limit int64
		want  string
		err   error
	}{
		{"d/f", 5, "12345", nil},
		{"d/f", 4, "", store.ErrTooLarge},
		{"empty", 0, "", nil},
		{"d", 5, "", fs.ErrInvalid},
		{"none", 5, "", fs.ErrNotExist},
	} {
		b, err := store.ReadFile(t.Context(), m, p, tt.name, tt.limit)
		if string(b) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ReadFile(%q, %d) = %q, %v; want %q, %v", tt.name, tt.limit, b, err, tt.want, tt.err)
		}
	}
}

func TestReadNode(t *testing.T) {
	m := storetest.New()
	p := m.Add("p-1", storetest.Files{"f": storetest.File("12345")})
	_, nd, err := store.Resolve(t.Context(), m, p.Abs()+"/f")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := store.ReadNode(t.Context(), m, p, nd, 3); string(b) != "123" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	m.Change(p, "f", "54321")
	if b, err := store.ReadNode(t.Context(), m, p, nd, 3); b != nil || !errors.Is(err, store.ErrChanged) {
		t.Errorf("after a change: %q, %v", b, err)
	}
}
