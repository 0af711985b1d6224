package conformance_test

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The binary cache with the golden vectors t1 to t5, as nix copy wrote it.
const tinyCache = "../store/binarycache/testdata/tiny-cache"

// What is in it, and of what an image of app is made.
const (
	tinyApp  = "/nix/store/s76lhzs0vf6bsih2bri2h1fpd5yzihaz-app-1.2.3"
	tinyOdd  = "/nix/store/n045llm1nflx95330ld771xpac8jv6yc-odd-3.14"
	tinyLeaf = "/nix/store/44fqbiy31f9z05qd5fg9flg5cvjcxirn-leaf-1.0"
)

// appImage is the repository of the image of app, which a store without names has too.
var appImage = "store/" + hash(tinyApp)

// tinyKey is the key that the tiny cache is signed with.
func tinyKey(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(string(readFile(t, filepath.Dir(tinyCache)+"/cache.pub")))
}

// serveCache serves a directory as a plain file server does, behind a gate.
func serveCache(t *testing.T, dir string) *upstream {
	t.Helper()
	return gate(t, localServer(t, http.FileServer(http.Dir(dir))))
}

func serveTiny(t *testing.T) *upstream {
	t.Helper()
	return serveCache(t, tinyCache)
}

// caches are options for a server of these stores, in which the tiny cache's key is trusted.
func caches(t *testing.T, urls ...string) options {
	t.Helper()
	o := options{Args: []string{"--trusted-public-key", tinyKey(t)}}
	for _, u := range urls {
		o.Args = append(o.Args, "--store", u)
	}
	return o
}

// with adds arguments.
func (o options) with(args ...string) options {
	o.Args = slices.Concat(o.Args, args)
	return o
}

// absolute is a file's path from the root, as URLs need it.
func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tinyGoldens are the vectors that the tiny cache has all of.
func tinyGoldens(t *testing.T) []golden {
	t.Helper()
	return goldensLike(t, "t")
}

// goldensLike are the vectors whose names begin so.
func goldensLike(t *testing.T, prefix string) (all []golden) {
	t.Helper()
	files, err := filepath.Glob("golden/" + prefix + "*-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden vectors %s: %v", prefix, err)
	}
	for _, f := range files {
		var g golden
		if err := json.Unmarshal(readFile(t, f), &g); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all = append(all, g)
	}
	return all
}

// sameAsGolden pulls the image of a vector and compares all that a vector says of it.
func (s *server) sameAsGolden(t *testing.T, g golden) {
	t.Helper()
	m := s.image(t, g.Name, "latest", ociManifest)[0]
	if m.Config.Digest != g.ConfigDigest {
		t.Errorf("%s: config %s, want %s", g.Name, m.Config.Digest, g.ConfigDigest)
	}
	if got := digests(m.Layers); !slices.Equal(got, prefixed(g.DiffIDs)) { // plain tar: they are the DiffIDs
		t.Errorf("%s: layers %v, want %v", g.Name, got, g.DiffIDs)
	}
}

// tinyImage is the image of app from the directory itself: what every other way to the cache must give.
func tinyImage(t *testing.T) []document {
	t.Helper()
	s := start(t, caches(t, "file://"+absolute(t, tinyCache)))
	defer s.stop(t)
	return s.image(t, appImage, "latest", accepts["oci"]...)
}

// isTiny pulls app and compares.
func (s *server) isTiny(t *testing.T, what string, want []document) {
	t.Helper()
	sameImage(t, what, s.image(t, appImage, "latest", accepts["oci"]...), want)
}

// refused asks for the manifest of an image that cannot be had, and returns the status and all that the client sees.
func (s *server) refused(t *testing.T, repo, ref string) (int, string) {
	t.Helper()
	resp := s.get(t, "/v2/"+repo+"/manifests/"+ref, accepts["oci"]...)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode < 400 {
		t.Errorf("GET %s:%s: %s, %v: %.300s; want a refusal", repo, ref, resp.Status, err, body)
	}
	return resp.StatusCode, string(body)
}

// archiveFiles are the files of --data that have what caches sent.
func (s *server) archiveFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Data, "nars"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) { // it may have got another name in the meantime
		t.Fatal(err)
	}
	return files
}

// archives are their sizes by name.
func (s *server) archives(t *testing.T) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	for _, file := range s.archiveFiles(t) {
		if info, err := os.Stat(file); err == nil {
			found[filepath.Base(file)] = info.Size()
		}
	}
	return found
}

// spooled is how many bytes of archives there are.
func (s *server) spooled(t *testing.T) (n int64) {
	t.Helper()
	for _, size := range s.archives(t) {
		n += size
	}
	return n
}

// onlyWhole fails the test if there are other files than the archives of so many paths.
func (s *server) onlyWhole(t *testing.T, paths int) {
	t.Helper()
	all := s.archives(t)
	if len(all) != paths {
		t.Errorf("%d files of archives are in --data, want one for each of %d paths: %v", len(all), paths, all)
	}
}

// One image is the same from wherever its cache is, to the bit what nixpkgs makes of a store on disk; layers too.
func TestCachesGiveGoldenImages(t *testing.T) {
	all := tinyGoldens(t)
	u := serveTiny(t)
	for name, url := range map[string]string{
		"file":                   "file://" + absolute(t, tinyCache),
		"http":                   u.URL,
		"http, with a slash":     u.URL + "/",
		"http, key in the URL":   u.URL + "?public-key=" + strings.ReplaceAll(tinyKey(t), "+", "%2B"),
		"http, trusted":          u.URL + "?trusted=true",
		"http, Nix's parameters": u.URL + "?priority=10&want-mass-query=true",
	} {
		t.Run(name, func(t *testing.T) {
			o := caches(t, url)
			if strings.Contains(url, "public-key") || strings.Contains(url, "trusted") {
				o = options{Args: []string{"--store", url}}
			}
			s := start(t, o.with("--images", imagesOf(t, all)))
			for _, g := range all {
				s.sameAsGolden(t, g)
			}
		})
	}
}

// The image of a package from a cache has the layers of the vector.
func TestCachesGivePackageImages(t *testing.T) {
	want := goldensLike(t, "t1")[0].DiffIDs
	u := serveTiny(t)
	s := start(t, caches(t, u.URL))
	got := digests(s.image(t, appImage, "latest", ociManifest)[0].Layers)
	wanted := prefixed(want)
	slices.Sort(got) // layers of equal size may stand in another order
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Errorf("layers %v, want %v", got, wanted)
	}
	u.once(t)
}
