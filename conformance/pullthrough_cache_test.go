package conformance_test

import (
	"fmt"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"
)

// A cache that is smaller than one image holds what fits, and gives everything right.
func TestPullThroughSmallCache(t *testing.T) {
	const bound = 1_000_000 // bytes, as --mirror-cache has it
	u := newUpstream(t)
	images := make(map[string][]document)
	for n := range 2 {
		tag := fmt.Sprintf("v%d", n)
		images[tag] = u.push(t, shape{seed: int64(50 + n), platforms: 1, layers: 10, size: 300_000, repository: "app", tags: tag})
	}
	s := start(t, through(u, "--mirror-cache", "1MB"))
	for range 2 {
		for tag, want := range images {
			sameImage(t, "through a small cache", s.image(t, "lab/app", tag), want)
			if total := s.checkKept(t); total > bound || total == 0 {
				t.Errorf("%d bytes are kept, want some, and no more than %d", total, bound)
			}
		}
	}
}

// A blob that is larger than the cache goes through it, and is not kept.
func TestPullThroughLargeBlob(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 52, layers: 1, size: 3 << 20, repository: "app", tags: "v1"})
	s := start(t, through(u, "--mirror-cache", "1MB"))
	sameImage(t, "a layer larger than the cache", s.image(t, "lab/app", "v1"), want)
	s.checkKept(t)
	if exists(t, s.keptFile(want[0].Layers[0])) {
		t.Error("a layer larger than the cache is kept")
	}
}

// A crowd that wants two images at once, of which not one fits, gets both right.
func TestPullThroughSmallCacheInACrowd(t *testing.T) {
	u := newUpstream(t)
	i := shape{seed: 53, platforms: 1, layers: 10, size: 300_000, repository: "app", tags: "v0"}
	u.push(t, i)
	i.seed, i.tags = 54, "v1"
	u.push(t, i)
	s := start(t, through(u, "--mirror-cache", "1MB"))
	var together errgroup.Group
	for n := range 20 {
		together.Go(func() error {
			return pullIndex(t.Context(), http.DefaultClient, s.URL+"/v2/lab/app", fmt.Sprintf("v%d", n%2))
		})
	}
	if err := together.Wait(); err != nil {
		t.Error(err)
	}
	if total := s.checkKept(t); total > 1_000_000 {
		t.Errorf("%d bytes are kept", total)
	}
}
