package digests_test

import (
	"testing"

	"github.com/nixreg/nixreg/manifest/digests"
)

// TestMemo: it holds Max entries, and forgets all of them for the next.
func TestMemo(t *testing.T) {
	m := digests.Memo[int, string]{Max: 2}
	if _, ok := m.Get(1); ok {
		t.Error("the empty one has an entry")
	}
	m.Put(1, "one")
	m.Put(2, "two")
	if v, ok := m.Get(1); !ok || v != "one" {
		t.Errorf("1 is %q, %t", v, ok)
	}
	m.Put(3, "three")
	if _, ok := m.Get(1); ok {
		t.Error("there are more entries than Max")
	}
	if v, ok := m.Get(3); !ok || v != "three" {
		t.Errorf("3 is %q, %t", v, ok)
	}
	m.Clear()
	if _, ok := m.Get(3); ok {
		t.Error("an entry is left after Clear")
	}
}
