package manifest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

type acceptance = func(...types.MediaType) (types.MediaType, bool)

func addHello(m *storetest.Memory, version string, machine byte, refs ...store.Path) store.Path {
	files := storetest.Files{"bin/hello": elf(machine)}
	for i, r := range refs {
		files[fmt.Sprint("needs/", i)] = storetest.Link(r.Abs())
	}
	return m.Add("hello-"+version, files, refs...)
}

// TestSearchFindsOlder: after the cache was lost, what an older tag stood for is known by digest, too.
func TestSearchFindsOlder(t *testing.T) {
	m := storetest.New()
	for _, v := range []string{"1", "2", "3"} {
		addHello(m, v, machineAMD64)
		if v != "2" {
			addHello(m, v, machineARM64)
		}
	}
	for _, tag := range []string{"1", "2", "3", "latest"} {
		for _, accept := range []acceptance{first, only(types.OCIManifestSchema1), only(types.DockerManifestSchema2)} {
			r := manifest.Request{Repository: "hello", Tag: tag, Accept: accept}
			d, err := newSource(t, "", m).Manifest(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			if err := known(newSource(t, "", m), "hello", d.Digest); err != nil {
				t.Errorf("%s of hello:%s after the cache was lost: %v", d.MediaType, tag, err)
			}
		}
	}
}

// TestSearchFindsSecondStore: the newest images are the newest of all stores together.
func TestSearchFindsSecondStore(t *testing.T) {
	a, b := storetest.New(), storetest.New()
	for i := range 9 {
		addHello(a, fmt.Sprint(i), machineAMD64)
	}
	addHello(b, "99", machineAMD64)
	d := get(t, newSource(t, "", a, b), "hello", "99").Digest
	if err := known(newSource(t, "", a, b), "hello", d); err != nil {
		t.Error(err)
	}
}

// TestSearchPassesOverBroken: a newest image that cannot be made hides no older one.
func TestSearchPassesOverBroken(t *testing.T) {
	for name, spoil := range map[string]func(m *storetest.Memory, lib store.Path) store.Store{
		"deleted":    func(m *storetest.Memory, lib store.Path) store.Store { m.Delete(lib); return m },
		"unreadable": func(m *storetest.Memory, lib store.Path) store.Store { return unreadable(m, lib) },
	} {
		m := storetest.New()
		lib := m.Add("lib-1", storetest.Files{"x": storetest.File("x")})
		addHello(m, "1", machineAMD64)
		addHello(m, "2", machineAMD64, lib)
		d := get(t, newSource(t, "", m), "hello", "1").Digest
		if err := known(newSource(t, "", spoil(m, lib)), "hello", d); err != nil {
			t.Errorf("a library of the newest is %s: %v", name, err)
		}
	}
}

// TestSearchIsRemembered: any number of unknown digests costs one search, until the store changes.
func TestSearchIsRemembered(t *testing.T) {
	m, _, _ := withHello()
	src, log := logged(t, new(shelf), m)
	ask := func() {
		t.Helper()
		for _, digit := range []string{"1", "2"} {
			if _, err := src.Blob(ctx, "hello", nowhere(digit)); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if err := known(src, "hello", nowhere(digit)); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	}
	ask()
	once := log.made()
	if once == 0 {
		t.Error("no image was made in search of the digests")
	}
	if ask(); log.made() != once {
		t.Errorf("%d images were made for the first digests, %d later", once, log.made()-once)
	}
	m.Add("other-1", storetest.Files{"x": storetest.File("")})
	if ask(); log.made() == once {
		t.Error("no image was made when the store had changed")
	}
}
