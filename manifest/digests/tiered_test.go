package digests_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/digests"
)

// full is a cache on a disk that may be full.
type full struct {
	digests.Memory
	err error
}

func (f *full) Put(ctx context.Context, key string, value []byte) error {
	if f.err != nil {
		return f.err
	}
	return f.Memory.Put(ctx, key, value)
}

func TestTieredServesWithAFullDisk(t *testing.T) {
	ctx := context.Background()
	var log bytes.Buffer
	far := &full{err: errors.New("no space left on device")}
	c := &digests.Tiered{Near: new(digests.Memory), Far: far, Log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, key := range []string{"a", "b"} {
		if err := c.Put(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Get(ctx, key); err != nil || string(b) != key {
			t.Errorf("%s is %q, %v", key, b, err)
		}
	}
	if n := strings.Count(log.String(), "no space left"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	far.err = nil
	if err := c.Put(ctx, "c", nil); err != nil || !strings.Contains(log.String(), "again") {
		t.Errorf("%v; log:\n%s", err, log.String())
	}
}

func TestTieredReadsTheFarCache(t *testing.T) {
	ctx := context.Background()
	near, far := new(digests.Memory), new(digests.Memory)
	c := &digests.Tiered{Near: near, Far: far}
	if err := far.Put(ctx, "old", []byte("record")); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Get(ctx, "old"); err != nil || string(b) != "record" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := near.Get(ctx, "old"); err != nil || string(b) != "record" {
		t.Errorf("not kept near: %q, %v", b, err)
	}
	if _, err := c.Get(ctx, "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	if err := c.Put(gone, "x", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
