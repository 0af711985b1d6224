package layer

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// heavy is a body of a given weight, and nothing else.
type heavy struct {
	body
	bytes int64
}

func (h heavy) weight() int64 { return h.bytes }

func recipeOf(name string) Recipe { return Recipe{Format: Entries, File: name} }

// TestBodiesAreBounded: what was not used for longest is forgotten when the weights grow beyond the bound.
func TestBodiesAreBounded(t *testing.T) {
	m := new(Maker)
	has := func(name string) bool { return m.cached(recipeOf(name), "") != nil }
	third := heavy{bytes: bodiesWeight/3 - 1000}
	for i := range 3 {
		m.keep(recipeOf(fmt.Sprint(i)), "", third)
	}
	has("0")
	m.keep(recipeOf("3"), "", third)
	if has("1") || !has("0") || !has("2") || !has("3") {
		t.Error("not the one that was not used for longest was forgotten")
	}
	m.keep(recipeOf("large"), "", heavy{bytes: bodiesWeight + 1})
	if has("large") || !has("3") {
		t.Error("a body that is larger than the bound was kept, or took the place of others")
	}
	m.forget(recipeOf("3"))
	if has("3") {
		t.Error("a forgotten body is still there")
	}
}

// TestBodiesOfOneLife: a body is of one epoch, and of one second; a later one takes its place.
func TestBodiesOfOneLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(Maker)
		r := recipeOf("a")
		m.keep(r, "1", heavy{bytes: 10})
		if m.cached(r, "2") != nil {
			t.Error("a body of another epoch")
		}
		m.keep(r, "2", heavy{bytes: 20})
		if m.cached(r, "1") != nil || m.cached(r, "2") == nil {
			t.Error("the later body did not take the other's place")
		}
		time.Sleep(bodyFresh + 1)
		if m.cached(r, "2") != nil {
			t.Error("a body that is too old")
		}
	})
}
