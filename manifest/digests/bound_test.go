package digests

import (
	"errors"
	"io/fs"
	"testing"
)

// TestBadgerIsEmptiedWhenTooLarge: beyond the bound all records go, and the cache works on.
func TestBadgerIsEmptiedWhenTooLarge(t *testing.T) {
	b, err := OpenBadger(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx := t.Context()
	if err := b.Put(ctx, "a", []byte("record")); err != nil {
		t.Fatal(err)
	}
	if err := b.bound(maxDirectory); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "a"); err != nil {
		t.Errorf("below the bound: %v", err)
	}
	if err := b.bound(-1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("above the bound: %v", err)
	}
	if err := b.Put(ctx, "b", []byte("record")); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Get(ctx, "b"); err != nil || string(v) != "record" {
		t.Errorf("after it: %q, %v", v, err)
	}
}
