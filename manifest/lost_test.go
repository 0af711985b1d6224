package manifest_test

import (
	"errors"
	"io/fs"
	"testing"
)

// TestLostBlobRecordAfterTheSearch: what was searched for in vain does not keep a pull by tag from restoring a lost record.
func TestLostBlobRecordAfterTheSearch(t *testing.T) {
	m, _, _ := withHello()
	full := new(shelf)
	r := inspect(t, withCache(t, full, m), "hello", "latest")
	for _, key := range full.keys("") {
		cache := full.copy()
		src := withCache(t, cache, m)
		get(t, src, "hello", "latest")
		if _, err := src.Blob(ctx, "hello", nowhere("1")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		cache.lose(key)
		get(t, src, "hello", "latest")
		for _, d := range blobsOf(r) {
			if err := intact(src, "hello", d); err != nil {
				t.Errorf("without %s: %v", key, err)
			}
		}
	}
}
