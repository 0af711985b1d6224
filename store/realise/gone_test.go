package realise

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// What everybody may know of a path that does not come back is its name, and not what it was built of.
func TestGonePathsAreNamed(t *testing.T) {
	const p = store.Path("0123456789abcdfghijklmnpqrsvwxyz-x-1.0")
	rec := record{Attr: "secret.attribute"}
	for _, err := range []error{rec.check(p, nil), rec.check(p, &store.Object{NarHash: store.Hash{1}}), stays(p, fs.ErrNotExist)} {
		var public interface{ Public() string }
		if !errors.Is(err, store.ErrExplained) || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &public) {
			t.Errorf("%v", err)
			continue
		}
		if text := public.Public(); !strings.Contains(text, string(p)) || strings.Contains(text, "secret") {
			t.Errorf("%v is for everybody %s", err, text)
		}
	}
}
