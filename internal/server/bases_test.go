package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/registry/dockerarchive"
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
		return verifyBaseFile(ctx, file)
	}
	if err := verify(t.Context(), whole); err != nil {
		t.Errorf("a whole one: %v", err)
	}
	for name, b := range map[string][]byte{
		"config": bytes.Replace(whole, []byte(`"linux"`), []byte(`"linus"`), 1),
		"list":   bytes.Replace(whole, []byte(`"Config":"`), []byte(`"Config":"0`), 1),
		"key":    bytes.Replace(whole, []byte(`"Layers"`), []byte(`"Layerz"`), 1),
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

// A base image that changes while this process runs is looked at again before it is used again.
func TestBaseIsHarmed(t *testing.T) {
	var whole bytes.Buffer
	if err := dockerarchive.Write(t.Context(), &whole, dockerarchive.Image{Name: "a", Tag: "b", Config: []byte(`{"os":"linux"}`)}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "base.tar")
	if err := os.WriteFile(file, whole.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bases{log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		data  []byte
		sound bool
	}{
		{whole.Bytes(), true}, {bytes.Replace(whole.Bytes(), []byte(`"linux"`), []byte(`"linus"`), 1), false},
		{whole.Bytes(), true}, {whole.Bytes()[:1024], false}, {nil, false},
	} {
		if err := os.WriteFile(file+".new", c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := b.sound(t.Context(), file); err != nil || got != c.sound {
				t.Errorf("%d bytes: sound is %v, %v", len(c.data), got, err)
			}
		}
	}
}
