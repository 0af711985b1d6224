package conformance_test

import (
	"maps"
	"slices"
	"testing"
)

// snapshot is every document a server offers: "family repository:tag" to digests, the index first, then its children.
type snapshot map[string][]document

// unlisted are repositories of the demo that are there without being in the catalogue: a package without programs, and
// several packages in one image.
var unlisted = []string{"greeting", "greeting/hello"}

// snapshot fetches all there is in the demo, and with it every blob.
func (s *server) snapshot(t *testing.T) snapshot {
	t.Helper()
	var catalog struct{ Repositories []string }
	s.json(t, "/v2/_catalog", &catalog)
	if len(catalog.Repositories) == 0 {
		t.Fatal("the catalogue is empty")
	}
	all := make(snapshot)
	for _, repo := range append(catalog.Repositories, unlisted...) {
		var list struct{ Tags []string }
		s.json(t, "/v2/"+repo+"/tags/list", &list)
		for _, tag := range list.Tags {
			for family, types := range accepts {
				all[family+" "+repo+":"+tag] = s.image(t, repo, tag, types...)
			}
		}
	}
	return all
}

// digests is what must never change.
func (s snapshot) digests() map[string][]string {
	out := make(map[string][]string)
	for name, docs := range s {
		for _, d := range docs {
			out[name] = append(out[name], d.Digest)
		}
	}
	return out
}

func sameDigests(t *testing.T, what string, got, want snapshot) {
	t.Helper()
	g, w := got.digests(), want.digests()
	for _, name := range slices.Sorted(maps.Keys(w)) {
		if !slices.Equal(g[name], w[name]) {
			t.Errorf("%s: %s: %v, want %v", what, name, g[name], w[name])
		}
		delete(g, name)
	}
	for name := range g {
		t.Errorf("%s: %s is new", what, name)
	}
}
