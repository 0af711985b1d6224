package layer

import (
	"fmt"
	"testing"
)

// heavy is a body of a given weight, and nothing else.
type heavy struct {
	body
	bytes int64
}

func (h heavy) weight() int64 { return h.bytes }

func (c *bodyCache) has(id string) bool { return c.get(id, "") != nil }

// TestBodiesAreBounded: what was not used for longest is forgotten when the weights grow beyond the bound.
func TestBodiesAreBounded(t *testing.T) {
	var c bodyCache
	quarter := heavy{bytes: bodiesWeight / 4}
	for i := range 4 {
		c.put(fmt.Sprint(i), "", quarter)
	}
	for i := range 4 {
		if !c.has(fmt.Sprint(i)) {
			t.Errorf("%d was forgotten, though all fit", i)
		}
	}
	c.has("0")
	c.put("4", "", quarter)
	if c.has("1") || !c.has("0") || !c.has("2") || !c.has("4") {
		t.Error("not the one that was not used for longest was forgotten")
	}
	c.put("large", "", heavy{bytes: bodiesWeight + 1})
	if c.has("large") || !c.has("4") {
		t.Error("a body that is larger than the bound was kept, or took the place of others")
	}
	c.put("whole", "", heavy{bytes: bodiesWeight})
	if !c.has("whole") || c.has("4") || c.weight != bodiesWeight || len(c.byID) != 1 || c.order.Len() != 1 {
		t.Errorf("weight %d, %d bodies, %d in order", c.weight, len(c.byID), c.order.Len())
	}
	c.drop("whole")
	c.drop("absent")
	if c.weight != 0 || c.has("whole") {
		t.Errorf("empty, but of weight %d", c.weight)
	}
}

// TestBodiesOfOneLife: a body is of one epoch; a later one takes its place.
func TestBodiesOfOneLife(t *testing.T) {
	var c bodyCache
	c.put("a", "1", heavy{bytes: 10})
	if c.get("a", "2") != nil {
		t.Error("a body of another epoch")
	}
	c.put("a", "2", heavy{bytes: 20})
	if c.get("a", "1") != nil || c.get("a", "2") == nil || c.weight != 20 {
		t.Errorf("weight %d after one took the other's place", c.weight)
	}
}
