package store

import "strings"

// MaxDerivationHead is how many bytes of a derivation [FixedOutput] needs at most.
const MaxDerivationHead = 1 << 10

// FixedOutput reports whether the text of a derivation (.drv) begins with an output whose hash the derivation states: what it makes is
// a source. A content-addressed derivation states only the algorithm, and an input-addressed one neither.
//
// Source: Nix, libstore/derivations.cc, parseDerivation: Derive([(name, path, hash algorithm, hash), …
func FixedOutput(text string) bool {
	rest, ok := strings.CutPrefix(text, "Derive([(")
	var fields [4]string
	for i := range fields {
		if i > 0 && ok {
			rest, ok = strings.CutPrefix(rest, ",")
		}
		if ok {
			rest, ok = strings.CutPrefix(rest, `"`)
		}
		if ok {
			fields[i], rest, ok = strings.Cut(rest, `"`) // none of these has a quote in it
		}
	}
	return ok && fields[2] != "" && fields[3] != ""
}
