package conformance_test

import (
	"context"
	"os"
	"testing"
)

// daemon runs Nix's daemon on the test's store until the test ends.
func (n ownNix) daemon(t *testing.T) {
	t.Helper()
	cmd := n.command(context.Background(), "nix-daemon")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	eventually(t, "the daemon listens", func() bool { return exists(t, n.dir+"/var/nix/daemon-socket/socket") })
}

// A user who may write to no store builds and holds through Nix's daemon.
func TestUnprivilegedUserHoldsAndBuilds(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	n.daemon(t)
	if err := os.Chmod(n.place, 0o777); err != nil { // it is the user's home, too
		t.Fatal(err)
	}
	o := nobodys(t)
	o.Args = byFile.Args
	o.Env = append(o.Env, "NIX_REMOTE=daemon")
	s := n.start(t, o)
	want := map[string]string{"hello": "", "greeting": ""}
	for repo := range want {
		want[repo] = s.image(t, repo, "latest", ociManifest)[0].Digest
	}
	if s.count("Nix does not hold") > 0 {
		t.Fatal("nothing is held")
	}
	ran, stop := n.collecting(t)
	for tries := 0; tries < 3 || ran() < 2; tries++ {
		for repo, digest := range want {
			if got := s.image(t, repo, digest, ociManifest)[0].Digest; got != digest {
				t.Errorf("%s is %s, it was %s", repo, got, digest)
			}
		}
	}
	stop()
	n.deleted(t, s, helloPath(t)) // the server alone held it
}
