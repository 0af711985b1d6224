package digests_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/nixreg/nixreg/manifest/digests"
)

// TestReadWrite: what cannot be read is as good as absent, and what cannot be written is not stored.
func TestReadWrite(t *testing.T) {
	c := digests.NewMemory(1 << 20)
	type record struct {
		A string
		B []int
	}
	if err := digests.Write(t.Context(), c, "x", record{"a", []int{1}}); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Get(t.Context(), "x"); string(b) != `{"A":"a","B":[1]}` {
		t.Errorf("the record is %s, %v", b, err)
	}
	var got record
	if err := digests.Read(t.Context(), c, "x", &got); err != nil || got.A != "a" || len(got.B) != 1 {
		t.Errorf("read %v, %v", got, err)
	}
	var other int
	if err := digests.Read(t.Context(), c, "x", &other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record of another kind: %v", err)
	}
	if err := digests.Read(t.Context(), c, "y", &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	if err := digests.Write(t.Context(), c, "z", func() {}); err == nil {
		t.Error("a function was written")
	}
}
