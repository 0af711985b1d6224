package layer

import (
	"archive/tar"
	"bytes"
	"path"
	"strings"
)

// whiteoutPrefix starts the names by which image layers say that a file of a lower layer is gone.
//
// Source: OCI image-spec 1.1, layer.md, Whiteouts.
const whiteoutPrefix = ".wh."

// maxWhiteouts bounds how many such names are reported.
const maxWhiteouts = 8

// whiteouts returns names of the body that a runtime takes for whiteouts, though a store path means them as files.
func whiteouts(b body) []string {
	var out []string
	note := func(name string) bool {
		if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
			out = append(out, name)
		}
		return len(out) < maxWhiteouts
	}
	switch b := b.(type) {
	case *table:
		for _, e := range b.entries {
			if !note(b.recipe.Objects[e.object].Path.Abs() + "/" + e.node.Name) {
				break
			}
		}
	case literal:
		tr := tar.NewReader(bytes.NewReader(b))
		for h, err := tr.Next(); err == nil; h, err = tr.Next() {
			if !note(h.Name) {
				break
			}
		}
	}
	return out
}
