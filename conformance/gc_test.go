package conformance_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// collect runs Nix's garbage collector once.
func (n ownNix) collect(t *testing.T) {
	t.Helper()
	n.nix(t, "nix-store", "--gc")
}

// processGone is how this collector ends, before it deletes anything, when a process ends that it has just listed in /proc.
var processGone = regexp.MustCompile(`error: opening /proc/[0-9]+/[a-z]+: No such process`)

// collecting runs it over and over, as fast as it goes, until stop is called. ran is how often it ran.
func (n ownNix) collecting(t *testing.T) (ran func() int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	rounds, done := new(atomic.Int64), make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			out, err := n.command(context.WithoutCancel(ctx), "nix-store", "--gc").CombinedOutput()
			if err != nil && processGone.Match(out) {
				continue
			}
			if err != nil {
				done <- fmt.Errorf("nix-store --gc: %w: %.2000s", err, out)
				return
			}
			rounds.Add(1)
		}
		done <- nil
	}()
	t.Cleanup(cancel)
	return rounds.Load, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// holds are the folders of what a server holds.
func (s *server) holds(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Data, "gcroots", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// letGo removes what a server holds, behind its back.
func (s *server) letGo(t *testing.T) {
	t.Helper()
	folders := s.holds(t)
	if len(folders) == 0 {
		t.Error("the server holds nothing")
	}
	for _, dir := range folders {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// While the garbage collector runs all the time, every pull of an image that is held gets every byte, also one that has to
// hash it first, one from a server that was killed before, and Docker's. What is not held is deleted.
func TestGarbageCollectionBesidePulls(t *testing.T) {
	endToEnd(t)
	g := goldensLike(t, "e")[0]
	n := newNix(t, "hello", "e-big", "big-all")
	dir := t.TempDir()
	if err := os.Symlink(g.ConfPath, filepath.Join(dir, "e-big.json")); err != nil {
		t.Fatal(err)
	}
	all := "store/" + hash(root(t, "big-all"))
	o := options{Args: []string{"--images", dir}}
	s := n.start(t, o)
	want := map[string]string{"e-big": "", all: ""}
	for repo := range want {
		want[repo] = s.manifest(t, repo, "latest", ociManifest).Digest
	}
	pulls := func(s *server, ref func(repo string) string) {
		for repo, digest := range want {
			if got := s.image(t, repo, ref(repo), ociManifest)[0].Digest; got != digest {
				t.Errorf("%s is %s, it was %s", repo, got, digest)
			}
		}
	}

	ran, stop := n.collecting(t)
	tag := func(string) string { return "latest" }
	pulls(s, tag)
	pulls(n.start(t, o), tag)
	s.kill()
	o.Data = s.Data
	s = n.start(t, o)
	pulls(s, func(repo string) string { return want[repo] })
	pull(t, s.Host+"/e-big")
	if got := inspect(t, s.Host+"/e-big"); got.ID != g.ConfigDigest || !slices.Equal(got.RootFS.Layers, prefixed(g.DiffIDs)) {
		t.Errorf("Docker has %s, want %s", got.ID, g.ConfigDigest)
	}
	for ran() < 5 {
		pulls(s, tag)
	}
	stop()
	if n.has(t, helloPath(t)) {
		t.Errorf("after %d rounds hello, which nobody holds, is there", ran())
	}
}

// A build beside the garbage collector may lose a race: Nix's own parts do among themselves. Then the answer says so, and
// the next try is as good as any. What is once given out is held and whole.
func TestGarbageCollectionBesideBuilds(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	if err := os.Symlink(helloPath(t), n.dir+"/var/nix/gcroots/hello"); err != nil { // or glibc is built again each time
		t.Fatal(err)
	}
	s := n.start(t, byFile)
	ran, stop := n.collecting(t)
	tries := 0
	for _, repo := range []string{"greeting", "gnupackages.salute", "noisy", "shell/greeting"} {
		eventually(t, repo+" is built and served", func() bool {
			tries++
			code := s.status(t, "/v2/"+repo+"/manifests/latest", ociManifest)
			if code == http.StatusInternalServerError {
				t.Errorf("%s: status %d, want one that tells what is wrong", repo, code)
			}
			n.editSources(t) // so that a failure is not remembered
			return code == http.StatusOK
		})
		s.image(t, repo, "latest", ociManifest)
	}
	eventually(t, "the garbage collector has run twice", func() bool { return ran() >= 2 })
	stop()
	t.Logf("%d tries, %d rounds of the garbage collector", tries, ran())
	if s.count("Nix does not hold") > 0 {
		t.Errorf("the server gave up holding %d times", s.count("Nix does not hold"))
	}
}

// editSources makes the sources look as if somebody had edited them.
func (n ownNix) editSources(t *testing.T) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(n.sources, "default.nix"), time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// An image is held for as long as it was pulled lately, across restarts; then its links are removed, and the garbage
// collector may have it.
func TestKeptForAWhile(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	o := options{Args: []string{"--keep", "1s"}}
	s := n.start(t, o)
	s.image(t, "hello", "latest", ociManifest)
	links := s.holds(t)
	if len(links) == 0 {
		t.Fatal("nothing is held")
	}
	n.collect(t)
	if !n.has(t, helloPath(t)) {
		t.Fatal("what was just served is deleted")
	}
	s.stop(t)
	n.collect(t)
	if !n.has(t, helloPath(t)) {
		t.Fatal("what was just served is deleted, once the server has ended")
	}

	eventually(t, "it was not used for a second", func() bool {
		info, err := os.Stat(links[0])
		return err == nil && time.Since(info.ModTime()) > 2*time.Second
	})
	o.Data = s.Data
	s = n.start(t, o)
	eventually(t, "nothing is held", func() bool { return len(s.holds(t)) == 0 })
	n.collect(t)
	if n.has(t, helloPath(t)) {
		t.Error("what was not used for long is still held")
	}
	s.refused(t, "hello", "latest")
}

// Without a Nix that holds, nixreg serves all the same, and says so once.
func TestServesWhatNobodyHolds(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, options{Env: []string{"NIX_REMOTE=unix:///absent/socket"}})
	for range 3 {
		s.image(t, "hello", "latest", ociManifest)
	}
	if n := s.count(`"msg":"Nix does not hold what is served`); n != 1 {
		t.Errorf("the log says %d times that nothing is held, want once", n)
	}
	n.collect(t)
	if n.has(t, helloPath(t)) {
		t.Error("hello is held")
	}
	if got := s.status(t, "/v2/hello/manifests/latest"); got != http.StatusNotFound {
		t.Errorf("hello, which was deleted: %d", got)
	}
}
