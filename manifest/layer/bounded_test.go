package layer_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// repeated is a zstd frame of blocks of 128 KiB each, four bytes a block.
//
// Source: RFC 8878, 3.1.1 (frame: 128 MiB window, no checksum) and 3.1.1.2 (RLE_Block).
func repeated(blocks int) []byte {
	const size = 128 << 10
	b := []byte("\x28\xb5\x2f\xfd\x00\x38")
	for i := range blocks {
		header := uint32(size<<3 | 1<<1)
		if i == blocks-1 {
			header |= 1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}

// TestArchiveGoesOn: behind an archive's end not everything is read.
func TestArchiveGoesOn(t *testing.T) {
	tar := pack(t, layer.Zstandard, archiveOf(t, []byte("x")))
	for blocks, want := range map[int]error{512: nil, 513: fs.ErrInvalid} {
		s := storetest.New()
		p := s.Add("a.tar.zst", storetest.Files{"": storetest.File(string(tar) + string(repeated(blocks)))})
		if _, err := newMaker(t, s).Archive(ctx, object(t, s, p), ""); !errors.Is(err, want) {
			t.Errorf("%d blocks: %v", blocks, err)
		}
	}
}

// TestUnpackedTooLarge: what unpacks to much more than its size is not unpacked to its end.
func TestUnpackedTooLarge(t *testing.T) {
	const slack = 1 << 20
	for blocks, want := range map[int]error{8: nil, 9: errors.ErrUnsupported} {
		b := repeated(blocks)
		s := storetest.New()
		p := s.Add("layer", storetest.Files{"": storetest.File(string(b))})
		m := newMaker(t, s)
		m.LimitUnpacking(slack)
		r := layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(object(t, s, p))}, Packed: layer.Zstandard}
		if _, err := m.Describe(ctx, r); !errors.Is(err, want) {
			t.Errorf("layer of %d blocks: %v", blocks, err)
		}
	}
	// an archive with one large member
	s := storetest.New()
	b := pack(t, layer.Zstandard, archiveOf(t, bytes.Repeat([]byte{0}, 40*slack)))
	p := s.Add("a.tar.zst", storetest.Files{"": storetest.File(string(b))})
	m := newMaker(t, s)
	m.LimitUnpacking(slack)
	if _, err := m.Archive(ctx, object(t, s, p), ""); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("archive of %d bytes: %v", len(b), err)
	}
}
