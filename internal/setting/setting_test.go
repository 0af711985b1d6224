package setting

import (
	"errors"
	"testing"
)

// What the place of a setting is put in front of is an error about that setting alone.
func TestLocate(t *testing.T) {
	origins := Origins{"mirror": "f:3", "mirror-ttl": "NIXREG_MIRROR_TTL"}
	for text, want := range map[string]string{
		`mirror "x": want NAME`:     `f:3: mirror "x": want NAME`,
		`mirror-ttl "5": want time`: `NIXREG_MIRROR_TTL: mirror-ttl "5": want time`,
		"mirror-listen: none":       "mirror-listen: none",
		"mirrors a and b":           "mirrors a and b",
		"mirror":                    "f:3: mirror",
	} {
		if got := origins.Locate(errors.New(text)); got.Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := origins.Locate(nil); err != nil {
		t.Error(err)
	}
}
