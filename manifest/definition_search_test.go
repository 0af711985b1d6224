package manifest_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
)

// TestDefinitionDigestIsFoundAgain after the cache was lost, whatever tag it was of; and not any more when the file was
// changed.
func TestDefinitionDigestIsFoundAgain(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, "[{name: x, tag: v1, contents: hello}, {name: x, tag: v2, contents: lib}]")
	start := func() *manifest.Source {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Images: []string{dir}, Cache: new(shelf)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	src := start()
	for _, tag := range []string{"v1", "v2"} {
		if err := known(start(), "x", get(t, src, "x", tag).Digest); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
	old := start()
	if err := known(old, "x", nowhere("1")); !errors.Is(err, fs.ErrNotExist) { // it searched, and knows them now
		t.Error(err)
	}
	before := get(t, src, "x", "v1").Digest
	replace(t, file, "{name: x, tag: v3, config: {User: nobody}}")
	old.Catalog().Reload(ctx)
	fresh := start()
	if err := known(old, "x", get(t, fresh, "x", "v3").Digest); err != nil {
		t.Errorf("after an edit: %v", err)
	}
	if err := known(fresh, "x", before); err == nil {
		t.Error("an image of what the file said before is known")
	}
}
