package layer_test

import (
	"reflect"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// TestRecipeID: whatever is changed in a recipe, however deep, it has another ID.
func TestRecipeID(t *testing.T) {
	whole := func() layer.Recipe {
		ref := layer.Ref{Path: "0123456789abcdfghijklmnpqrsvwxyz-a", NarHash: store.Hash{1}}
		return layer.Recipe{Format: layer.Member, Objects: []layer.Ref{ref}, Via: []layer.Ref{ref}, Owner: layer.Owner{UID: 1, GID: 1, Uname: "u", Gname: "g"},
			MTime: 1, File: "f", Offset: 1, Size: 1, Entries: []layer.Entry{{Name: "n", Mode: 1, Link: "l", Data: "d"}},
			Roots: []store.Path{"r"}, Facts: "f"}
	}
	seen := map[string]string{whole().ID(): "nothing"}
	if again := whole(); seen[again.ID()] == "" {
		t.Error("equal recipes have different IDs")
	}
	note := func(name string, r layer.Recipe) {
		if other, ok := seen[r.ID()]; ok {
			t.Errorf("a change of %s gives the ID of a change of %s", name, other)
		}
		seen[r.ID()] = name
	}
	for i := range leaves(reflect.ValueOf(new(whole())).Elem(), "recipe") {
		r := whole()
		leaf := leaves(reflect.ValueOf(&r).Elem(), "recipe")[i]
		change(t, leaf.value)
		note(leaf.name, r)
	}
	for name, edit := range map[string]func(r *layer.Recipe){
		"no via":       func(r *layer.Recipe) { r.Via = nil },
		"more objects": func(r *layer.Recipe) { r.Objects = append(r.Objects, layer.Ref{Path: "x"}) },
		"more via":     func(r *layer.Recipe) { r.Via = append(r.Via, layer.Ref{Path: "x"}) },
	} {
		r := whole()
		edit(&r)
		note(name, r)
	}
	if len(seen) < 15 {
		t.Errorf("only %d changes were tried", len(seen))
	}
}

type leaf struct {
	name  string
	value reflect.Value
}

// leaves are the values a recipe is made of. Slices in it have one element.
func leaves(v reflect.Value, name string) (out []leaf) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, leaves(v.Field(i), name+"."+v.Type().Field(i).Name)...)
		}
		return out
	case reflect.Slice:
		return leaves(v.Index(0), name+"[0]")
	}
	return []leaf{{name, v}}
}

func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Array:
		v.Index(v.Len() - 1).SetUint(9)
	default:
		t.Fatalf("no way to change a %s", v.Type())
	}
}
