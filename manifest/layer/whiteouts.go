package layer

import (
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
	t, ok := b.(*table)
	if !ok {
		return nil
	}
	var out []string
	for _, e := range t.entries {
		if strings.HasPrefix(path.Base(e.node.Name), whiteoutPrefix) && len(out) < maxWhiteouts {
			out = append(out, t.recipe.Objects[e.object].Path.Abs()+"/"+e.node.Name)
		}
	}
	return out
}
