package store_test

import (
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

func TestFixedOutput(t *testing.T) {
	const path = "/nix/store/00000000000000000000000000000000-x"
	for text, want := range map[string]bool{
		`Derive([("out","` + path + `","r:sha256","00ab")],[],[],"x86_64-linux","/bin/sh",[],[("out","` + path + `")])`: true,
		`Derive([("out","` + path + `","sha256","00ab")],[`:                                                             true,
		`Derive([("out","","r:sha256","")],[],[],"x86_64-linux"`:                                                        false, // content-addressed
		`Derive([("bin","` + path + `","",""),("out","` + path + `","","")],[`:                                          false,
		`Derive([("out","` + path + `","r:sha256","00`:                                                                  false, // cut
		`DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[`:                                                      false,
		``: false,
	} {
		if got := store.FixedOutput(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzFixedOutput(f *testing.F) {
	f.Add(`Derive([("out","p","r:sha256","00ab")],[`)
	f.Fuzz(func(t *testing.T, text string) {
		if store.FixedOutput(text) && !strings.HasPrefix(text, `Derive([("`) {
			t.Errorf("%q", text)
		}
	})
}
