package conformance_test

import (
	"os"
	"strings"
	"testing"
)

var demo = options{Args: []string{"--demo"}}

// repository is the repository of a snapshot's name, "family repository:tag".
func repository(name string) string {
	_, rest, _ := strings.Cut(name, " ")
	return rest[:strings.LastIndex(rest, ":")]
}

func TestDemoServesEveryPlatform(t *testing.T) {
	s := start(t, demo)
	for family, types := range accepts {
		index := s.manifest(t, "hello", "latest", types...)
		var got []string
		for _, m := range index.Manifests {
			got = append(got, m.Platform.Architecture)
		}
		if strings.Join(got, " ") != "amd64 arm64" {
			t.Errorf("%s: hello has the platforms %q, want amd64 and arm64", family, got)
		}
	}
}

func TestDigestsDependOnNothingButTheStore(t *testing.T) {
	want := start(t, demo).snapshot(t)
	t.Run("one core", func(t *testing.T) {
		one := demo
		one.Env = []string{"GOMAXPROCS=1"}
		sameDigests(t, "GOMAXPROCS=1", start(t, one).snapshot(t), want)
	})
	t.Run("restart", func(t *testing.T) {
		first := start(t, demo)
		first.snapshot(t)
		first.stop(t)
		again := demo
		again.Data = first.Data
		sameDigests(t, "after a restart", start(t, again).snapshot(t), want)
	})
	t.Run("manifests by digest first", func(t *testing.T) {
		fresh := start(t, demo)
		for name, docs := range want {
			for _, d := range docs {
				fresh.manifest(t, repository(name), d.Digest)
			}
		}
		sameDigests(t, "asked by digest", fresh.snapshot(t), want)
	})
	t.Run("blobs by digest first", func(t *testing.T) {
		fresh := start(t, demo)
		for name, docs := range want {
			for _, d := range docs {
				for _, b := range d.blobs() {
					fresh.blob(t, repository(name), b)
				}
			}
		}
		sameDigests(t, "asked by blobs", fresh.snapshot(t), want)
	})
}

func TestWipedDataGivesTheSameDigests(t *testing.T) {
	first := start(t, demo)
	want := first.snapshot(t)
	first.stop(t)
	if err := os.RemoveAll(first.Data); err != nil {
		t.Fatal(err)
	}
	again := demo
	again.Data = first.Data
	sameDigests(t, "wiped", start(t, again).snapshot(t), want)
}

// A kill at any moment of the first pull must leave a data directory that gives the same digests. TestKilledWhileHashing
// meets a server in the midst of its work; the demo is too small for that.
func TestKilledDuringTheFirstPull(t *testing.T) {
	want := start(t, demo).snapshot(t)
	moments := map[string]func(t *testing.T, s *server){
		"at once": func(_ *testing.T, s *server) {
			go ask(s.URL + "/v2/hello/manifests/latest")
		},
		"after the manifest": func(t *testing.T, s *server) {
			s.manifest(t, "hello", "latest", ociIndex)
		},
		"after half the blobs": func(t *testing.T, s *server) {
			child := s.manifest(t, "hello", "latest", ociManifest)
			for _, b := range child.blobs()[:len(child.blobs())/2] {
				s.blob(t, "hello", b)
			}
		},
	}
	for name, until := range moments {
		t.Run(name, func(t *testing.T) {
			s := start(t, demo)
			until(t, s)
			s.kill()
			again := demo
			again.Data = s.Data
			sameDigests(t, "after kill -9", start(t, again).snapshot(t), want)
		})
	}
}
