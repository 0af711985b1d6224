package conformance_test

import (
	"context"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"
)

// chained is a cache with a closure of paths that are large enough to be cut in two, and the repository of its image.
func chained(t *testing.T, name string, paths, size int) (f *forge, u *upstream, all []string, repo string) {
	t.Helper()
	f = newForge()
	all = f.chain(name, paths, size)
	return f, f.serve(t), all, "store/" + hash(all[len(all)-1])
}

// A kill in the midst of a cold pull costs nothing but the time, and leaves nothing behind that stays.
func TestCachesKilledInAColdPull(t *testing.T) {
	const size = 4 << 20
	f, u, all, repo := chained(t, "killed", 3, size)
	o := f.options(u.URL)
	want := start(t, o).image(t, repo, "latest", accepts["oci"]...)
	u.forget()

	u.spoil(f.url(all[1]), 1, hold(nil))
	s := start(t, o)
	go ask(s.URL + "/v2/" + repo + "/manifests/latest")
	eventually(t, "a part of the archive is on disk", func() bool { return u.count(f.url(all[1])) == 1 && s.spooled(t) > size/4 })
	s.kill()
	u.heal()

	o.Data = s.Data
	again := start(t, o)
	sameImage(t, "after kill -9", again.image(t, repo, "latest", accepts["oci"]...), want)
	again.onlyWhole(t, len(all))
	again.stop(t)
	again.onlyWhole(t, len(all))
}

// A client that leaves does not stop the fetch: the next one finds it done.
func TestCachesClientLeaves(t *testing.T) {
	f, u, all, repo := chained(t, "left", 2, 2<<20)
	s := start(t, f.options(u.URL))
	release := make(chan struct{})
	for _, p := range all {
		u.spoil(f.url(p), 1, hold(release))
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := fetchManifest(ctx, http.DefaultClient, s.URL+"/v2/"+repo+"/manifests/latest")
		left <- err
	}()
	eventually(t, "an archive is on its way", func() bool { return u.count("GET /nar/") > 0 })
	leave()
	if err := <-left; err == nil {
		t.Fatal("the client got the manifest")
	}
	close(release)
	eventually(t, "the archives are kept", func() bool { return len(s.archives(t)) == len(all) })
	s.image(t, repo, "latest")
	u.once(t)
}

// A crowd that wants an image nobody has pulled yet costs the cache one request for each file.
func TestCachesColdCrowd(t *testing.T) {
	f, u, all, repo := chained(t, "wanted", 6, 1<<20)
	s := start(t, f.options(u.URL))
	together, ctx := errgroup.WithContext(t.Context())
	for range 20 {
		together.Go(func() error { return s.pullAll(ctx, http.DefaultClient, repo) })
	}
	if err := together.Wait(); err != nil {
		t.Fatal(err)
	}
	u.once(t)
	s.onlyWhole(t, len(all))
}

// An image that is larger than --nar-cache can be pulled: what was served goes, and comes again when it is wanted.
func TestCachesSmallNarCache(t *testing.T) {
	const size = 1 << 20
	f, u, _, repo := chained(t, "large", 8, size)
	want := start(t, f.options(u.URL)).image(t, repo, "latest", accepts["oci"]...)
	s := start(t, f.options(u.URL).with("--nar-cache", "3MB"))
	for range 2 {
		sameImage(t, "with a small --nar-cache", s.image(t, repo, "latest", accepts["oci"]...), want)
	}
	eventually(t, "no more is kept than --nar-cache", func() bool { return s.spooled(t) <= 3e6 })
}

// Everything that was pulled once is there without any cache, by tag and by digest, in this process and in the next.
func TestCachesAllDown(t *testing.T) {
	t.Parallel() // it waits most of the time
	u := serveTiny(t)
	o := caches(t, u.URL)
	o = o.with("--images", imagesOf(t, tinyGoldens(t)))
	s := start(t, o)
	want := s.image(t, appImage, "latest", accepts["oci"]...)
	for _, g := range tinyGoldens(t) {
		s.sameAsGolden(t, g)
	}
	u.stop()
	for range 2 {
		s.isTiny(t, "by tag, without the cache", want)
		sameImage(t, "by digest, without the cache", s.image(t, appImage, want[0].Digest, accepts["oci"]...), want)
		for _, g := range tinyGoldens(t) {
			s.sameAsGolden(t, g)
		}
		s.stop(t)
		o.Data = s.Data
		s = start(t, o)
	}
	sameImage(t, "by digest first, in a new process", s.image(t, appImage, want[0].Digest, accepts["oci"]...), want)
	if code, body := s.refused(t, "store/"+hash(forgedPath("never-1.0")), "latest"); code != http.StatusBadGateway {
		t.Errorf("what was never pulled: %d %s, want 502", code, body)
	}
}

// What was changed on disk while nobody looked is found out, and fetched again.
func TestCachesDamagedArchive(t *testing.T) {
	f, u, all, repo := chained(t, "damaged", 3, 300_000)
	o := f.options(u.URL)
	s := start(t, o)
	want := s.image(t, repo, "latest", accepts["oci"]...)
	s.stop(t)
	for i, file := range s.archiveFiles(t) {
		damage(t, file, []func([]byte) []byte{flip(1, 2), shorter, longer}[i%3])
	}
	o.Data = s.Data
	s = start(t, o)
	sameImage(t, "after the damage", s.image(t, repo, "latest", accepts["oci"]...), want)
	s.onlyWhole(t, len(all))
	for _, p := range all {
		if n := u.count(f.url(p)); n != 2 {
			t.Errorf("%s was fetched %d times, want a second time after the damage", p, n)
		}
	}
}
