package nixdb

import (
	"errors"
	"testing"
)

func TestFull(t *testing.T) {
	f := &file{bytes: make([]byte, (maxPages-1)*pageSize, maxPages*pageSize)}
	schema := newPage(tableLeaf, fileHeader)
	if n := f.add(make([]byte, pageSize)); n != maxPages {
		t.Errorf("the last page is %d, not %d", n, maxPages)
	}
	if _, err := f.finish(schema.bytes()); err != nil {
		t.Errorf("as large as may be: %v", err)
	}
	f.spill(make([]byte, 10*pageSize))
	if b, err := f.finish(schema.bytes()); !errors.Is(err, errors.ErrUnsupported) || b != nil {
		t.Errorf("one page more: %d bytes, error %v", len(b), err)
	}
}
