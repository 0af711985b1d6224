package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// The hash is what nix-hash --type sha256 --base32 says of the same files on disk, the size that of nix-store --dump.
func TestNAR(t *testing.T) {
	m := storetest.New()
	p := m.Add("x", storetest.Files{
		"bin/hello": storetest.Exec("#!/bin/sh\n"), "share/x": storetest.Link("../y"), "doc/a": storetest.File("text"), "empty": storetest.Dir(),
	})
	obj, err := m.Object(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got := obj.NarHash.String(); got != "sha256:0d9xyy5y3cd90wwd376h5b3ahfz85fk4w39r33n8xhj4ns3dh4g4" || obj.NarSize != 1384 {
		t.Errorf("hash %s, size %d", got, obj.NarSize)
	}
}

func TestChange(t *testing.T) {
	ctx := context.Background()
	m := storetest.New()
	p := m.Add("x", storetest.Files{"a": storetest.File(strings.Repeat("a", 10000))})
	tr, err := m.Open(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	nd, err := store.Lookup(ctx, tr, "a")
	if err != nil {
		t.Fatal(err)
	}
	w := &hook{then: func() { m.Change(p, "a", strings.Repeat("b", 10000)) }}
	if err := tr.WriteFile(ctx, w, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) {
		t.Errorf("changed in the middle: %v", err)
	}
	if n := int64(w.Len()); n == 0 || n >= nd.Size {
		t.Errorf("%d of %d bytes arrived", n, nd.Size)
	}
	m.Delete(p)
	if _, err := m.Open(ctx, p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open after delete: %v", err)
	}
}

type hook struct {
	bytes.Buffer
	then func()
}

func (h *hook) Write(p []byte) (int, error) {
	h.then()
	return h.Buffer.Write(p)
}

func TestMemory(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		m := storetest.New()
		for _, f := range objs {
			m.Put(f)
		}
		return m
	})
}
