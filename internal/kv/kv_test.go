package kv

import (
	"context"
	"errors"
	"io/fs"
	"testing"
)

type memory map[string][]byte

func (m memory) Get(_ context.Context, key string) ([]byte, error) {
	if b, ok := m[key]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (m memory) Put(_ context.Context, key string, value []byte) error {
	m[key] = value
	return nil
}

// TestReadWrite: what cannot be read is as good as absent, and what cannot be written is not stored.
func TestReadWrite(t *testing.T) {
	c := memory{}
	type record struct {
		A string
		B []int
	}
	if err := Write(t.Context(), c, "x", record{"a", []int{1}}); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Get(t.Context(), "x"); string(b) != `{"A":"a","B":[1]}` {
		t.Errorf("the record is %s, %v", b, err)
	}
	var got record
	if err := Read(t.Context(), c, "x", &got); err != nil || got.A != "a" || len(got.B) != 1 {
		t.Errorf("read %v, %v", got, err)
	}
	var other int
	if err := Read(t.Context(), c, "x", &other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record of another kind: %v", err)
	}
	if err := Read(t.Context(), c, "y", &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	if err := Write(t.Context(), c, "z", func() {}); err == nil {
		t.Error("a function was written")
	}
}
