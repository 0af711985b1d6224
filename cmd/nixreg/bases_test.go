package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"nixreg/registry/dockerarchive"
)

// TestVerifyBase: every damage to what is kept is seen: to a layer, to the config, to the end.
func TestVerifyBase(t *testing.T) {
	var b bytes.Buffer
	if err := dockerarchive.Write(t.Context(), &b, dockerarchive.Image{Name: "a", Tag: "b", Config: []byte(`{"os":"linux"}`)}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	file := filepath.Join(t.TempDir(), "base.tar")
	verify := func(ctx context.Context, b []byte) error {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return verifyBase(ctx, file)
	}
	if err := verify(t.Context(), whole); err != nil {
		t.Errorf("a whole one: %v", err)
	}
	for name, b := range map[string][]byte{
		"config": bytes.Replace(whole, []byte(`"linux"`), []byte(`"linus"`), 1),
		"empty":  nil,
		"cut":    whole[:700],
		"no end": whole[:1024],
		"zeroes": make([]byte, len(whole)),
	} {
		if err := verify(t.Context(), b); err == nil {
			t.Errorf("%s: taken for whole", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := verify(ctx, whole); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
	if _, err := (&bases{}).sound(ctx, filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Errorf("an absent one: %v", err)
	}
}
