package store_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func TestClosure(t *testing.T) {
	m := storetest.New()
	none := storetest.Files{}
	libc := m.Add("libc", none, storetest.Self)
	lib := m.Add("lib", none, libc)
	app := m.Add("app", none, lib, libc)
	other := m.Add("other", none)
	a := m.Add("a", none)
	b := m.Add("b", none, a)
	m.Edit(a, func(o *store.Object) { o.References = []store.Path{b} }) // Nix makes no cycles, but a cache may tell of one
	broken := m.Add("broken", none, "00000000000000000000000000000000-gone")

	for _, tt := range []struct {
		name        string
		roots, want []store.Path
	}{
		{"no root", nil, nil},
		{"itself", []store.Path{libc}, []store.Path{libc}},
		{"shared", []store.Path{app}, []store.Path{app, lib, libc}},
		{"several", []store.Path{other, app, other, lib}, []store.Path{app, lib, libc, other}},
		{"cycle", []store.Path{a}, []store.Path{a, b}},
	} {
		var got []store.Path
		objs, err := store.Closure(t.Context(), m, tt.roots...)
		for _, o := range objs {
			got = append(got, o.Path)
		}
		slices.Sort(tt.want)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := store.Closure(t.Context(), m, broken); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("closure with an invalid reference: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Closure(ctx, m, app); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
