package conformance_test

import (
	"strings"
	"testing"
)

// snippet is the fenced block of a page that has this text in it, with other texts in the place of the page's addresses
// and paths: old, new, and so on. A page whose blocks do not have them ends the test.
func snippet(t *testing.T, page, text string, replace ...string) string {
	t.Helper()
	for i, block := range strings.Split("\n"+string(readFile(t, page)), "\n```") {
		_, body, ok := strings.Cut(block, "\n")
		if i%2 == 0 || !ok || !strings.Contains(body, text) {
			continue
		}
		for k := 0; k < len(replace); k += 2 {
			if !strings.Contains(body, replace[k]) {
				t.Fatalf("%s: the block with %q has no %s", page, text, replace[k])
			}
			body = strings.ReplaceAll(body, replace[k], replace[k+1])
		}
		return body + "\n"
	}
	t.Fatalf("%s has no block with %q", page, text)
	return ""
}
