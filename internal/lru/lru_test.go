package lru

import (
	"slices"
	"testing"
	"time"
)

func TestEvictsWhatWasUsedLeastRecently(t *testing.T) {
	c := Cache[string, int]{Max: 3 * (Overhead + 10)}
	for i, k := range []string{"a", "b", "c"} {
		c.Put(k, i, 10)
	}
	c.Get("a")
	c.Put("d", 3, 10)
	for k, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if _, ok := c.Get(k); ok != want {
			t.Errorf("%s is there: %t, want %t", k, ok, want)
		}
	}
	if w := c.Weight(); w != c.Max {
		t.Errorf("weight %d, want %d", w, c.Max)
	}
}

func TestReplacedValuesWeighNothing(t *testing.T) {
	c := Cache[string, int]{Max: 1000}
	for i := range 100 {
		c.Put("a", i, int64(i))
	}
	if v, ok := c.Get("a"); v != 99 || !ok || c.Weight() != 99+Overhead {
		t.Errorf("got %d, %t, weight %d", v, ok, c.Weight())
	}
	c.Put("a", 0, 1000) // too heavy, and what was there before is not its value
	if _, ok := c.Get("a"); ok || c.Weight() != 0 {
		t.Errorf("a value that is too heavy is kept: %t, weight %d", ok, c.Weight())
	}
}

func TestKeepLast(t *testing.T) {
	c := Cache[string, int]{Max: 1000, KeepLast: true}
	c.Put("a", 1, 10)
	c.Put("b", 2, 2000)
	if _, ok := c.Get("a"); ok {
		t.Error("what was there before is kept beside what is too heavy")
	}
	if v, ok := c.Get("b"); v != 2 || !ok {
		t.Errorf("the last value: %d, %t", v, ok)
	}
	c.Put("c", 3, 10)
	if _, ok := c.Get("b"); ok {
		t.Error("the heavy value outlives the next one")
	}
}

func TestDeleteAndClear(t *testing.T) {
	c := Cache[int, int]{Max: 1 << 20}
	c.Put(1, 1, 1)
	c.Put(2, 2, 1)
	var all []int
	c.Each(func(k, _ int) { all = append(all, k) })
	if !slices.Equal(all, []int{2, 1}) {
		t.Errorf("each: %d", all)
	}
	c.Delete(1)
	c.Delete(3)
	if _, ok := c.Get(1); ok || c.Weight() != Overhead+1 {
		t.Errorf("deleted: %t, weight %d", ok, c.Weight())
	}
	c.Clear()
	if _, ok := c.Get(2); ok || c.Weight() != 0 {
		t.Errorf("cleared: %t, weight %d", ok, c.Weight())
	}
	c.Put(2, 3, 1)
	if v, ok := c.Get(2); v != 3 || !ok {
		t.Errorf("after clear: %d, %t", v, ok)
	}
}

func TestTTL(t *testing.T) {
	now := time.Now()
	c := Cache[string, int]{Max: 1 << 20, TTL: time.Minute, Now: func() time.Time { return now }}
	c.Put("a", 1, 10)
	c.PutFor("b", 2, 10, time.Hour)
	c.PutFor("c", 3, 10, 0)
	for _, step := range []struct {
		after time.Duration
		want  []string
	}{
		{time.Minute - 1, []string{"a", "b", "c"}}, {1, []string{"b", "c"}}, {time.Hour, []string{"c"}}, {1000 * time.Hour, []string{"c"}},
	} {
		now = now.Add(step.after)
		var got []string
		for _, k := range []string{"a", "b", "c"} {
			if _, ok := c.Get(k); ok {
				got = append(got, k)
			}
		}
		if want := int64(len(step.want) * (Overhead + 10)); !slices.Equal(got, step.want) || c.Weight() != want {
			t.Errorf("%v later: %q, weight %d, want %q, weight %d", step.after, got, c.Weight(), step.want, want)
		}
	}
}
