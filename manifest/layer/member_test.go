package layer_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestMemberBeyondTheEnd: a recipe comes from a record, which may be damaged; so may the one of its digest.
func TestMemberBeyondTheEnd(t *testing.T) {
	m := storetest.New()
	whole := recipe(t, m, m.Add("image.tar", storetest.Files{"": storetest.File("0123456789")}))
	whole.Format, whole.Size = layer.Member, 10
	maker := newMaker(t, m)
	info := describe(t, maker, whole)
	for _, c := range []struct {
		offset, size int64
		ok           bool
	}{{0, 10, true}, {10, 0, true}, {4, 6, true}, {4, 7, false}, {11, 0, false}, {-1, 5, false}, {5, -1, false}} {
		r := whole
		r.Offset, r.Size = c.offset, c.size
		_, err := newMaker(t, m).Describe(ctx, r)
		if c.ok && err != nil || !c.ok && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d+%d of 10 bytes: %v", c.offset, c.size, err)
		}
		info.Size, info.Tar = c.size, c.size
		record, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := maker.Cache.Put(ctx, "layer/"+r.ID(), record); err != nil {
			t.Fatal(err)
		}
		if _, err := maker.Open(ctx, r, info.DiffID); c.ok && err != nil || !c.ok && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d+%d of 10 bytes, with a record: %v", c.offset, c.size, err)
		}
	}
}

// TestSparseMember: the bytes of a sparse member are not those that lie in the archive.
func TestSparseMember(t *testing.T) {
	const hidden = "GNU.spirse." // Go's writer refuses to write the records of a sparse file
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	data := "1\n0\n4\n" + strings.Repeat("\x00", 506) + "data"
	records := map[string]string{hidden + "major": "1", hidden + "minor": "0", hidden + "name": "layer.tar", hidden + "realsize": "4"}
	if err := tw.WriteHeader(&tar.Header{Name: "layer.tar", Size: int64(len(data)), Mode: 0o644, Format: tar.FormatPAX, PAXRecords: records}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	for text, kind := range map[string]error{b.String(): nil, strings.ReplaceAll(b.String(), hidden, "GNU.sparse."): errors.ErrUnsupported} {
		m := storetest.New()
		p := m.Add("image.tar", storetest.Files{"": storetest.File(text)})
		if _, err := newMaker(t, m).Archive(ctx, object(t, m, p), ""); !errors.Is(err, kind) {
			t.Errorf("%v, not %v", err, kind)
		}
	}
}
