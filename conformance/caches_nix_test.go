package conformance_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nixCaches is where mkstore.sh caches puts what nix copy writes.
func nixCaches(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(cmp.Or(os.Getenv("NIXREG_WORK"), "/var/tmp/nixreg-store"), "caches")
	if !exists(t, filepath.Join(dir, "key.pub")) {
		t.Fatalf("no %s: make the caches with conformance/nix/mkstore.sh caches", dir)
	}
	return dir
}

// nixKey are arguments for a server that trusts the key of these caches.
func nixKey(t *testing.T) []string {
	t.Helper()
	return []string{"--trusted-public-key", strings.TrimSpace(string(readFile(t, nixCaches(t)+"/key.pub")))}
}

// cached are the images of these tests: the golden ones, a definition, and packages by their store path.
func cached(t *testing.T, dir string) (repositories []string) {
	t.Helper()
	for _, g := range goldens(t) {
		if err := os.Symlink(g.ConfPath, filepath.Join(dir, g.Name+".json")); err != nil {
			t.Fatal(err)
		}
		repositories = append(repositories, g.Name)
	}
	text := fmt.Sprintf("name: defined\ncontents: [%s]\nconfig: {Cmd: [/bin/hello]}\n", helloPath(t))
	if err := os.WriteFile(filepath.Join(dir, "defined.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return append(repositories, "defined", "store/"+hash(helloPath(t)), "store/"+hash(root(t, "big-odd")))
}

// fromDisk are the manifests of these images from the machine's own store.
func fromDisk(t *testing.T) (want map[string]document) {
	t.Helper()
	dir := t.TempDir()
	repositories := cached(t, dir)
	s := start(t, images(dir))
	defer s.stop(t)
	want = make(map[string]document)
	for _, r := range repositories {
		want[r] = s.manifest(t, r, "latest", ociManifest)
	}
	return want
}

// A machine without /nix gives from any cache what one with a store gives from its disk, and Docker runs it.
func TestCachesThatNixWrote(t *testing.T) {
	endToEnd(t)
	want := fromDisk(t)
	buckets := make(map[string]string)
	for _, c := range []string{"xz", "zstd", "none"} {
		buckets["cache-"+c] = filepath.Join(nixCaches(t), c)
	}
	s3 := serveBuckets(t, buckets)
	for _, c := range []string{"xz", "zstd", "none"} {
		files := serveCache(t, filepath.Join(nixCaches(t), c))
		t.Run("http/"+c, func(t *testing.T) { cachedElsewhere(t, files.URL, want) })
		some := maps.Clone(want)
		maps.DeleteFunc(some, func(name string, _ document) bool { return c != "zstd" && name == "e-big" }) // once is enough
		t.Run("s3/"+c, func(t *testing.T) { cachedElsewhere(t, bucket(s3, "cache-"+c), some) })
	}
	hello := "store/" + hash(helloPath(t))
	for _, c := range []string{"gzip", "bzip2"} {
		files := serveCache(t, filepath.Join(nixCaches(t), c))
		t.Run("http/"+c, func(t *testing.T) { cachedElsewhere(t, files.URL, map[string]document{hello: want[hello]}) })
	}
}

// bucket is the URL of a bucket behind a gate.
func bucket(s3 *upstream, name string) string {
	return "s3://" + name + "?region=us-east-1&scheme=http&endpoint=" + url.QueryEscape(s3.Host)
}

var bucketsEnv = []string{"AWS_ACCESS_KEY_ID=" + bucketsUser, "AWS_SECRET_ACCESS_KEY=" + bucketsSecret, "AWS_EC2_METADATA_DISABLED=true"}

// cachedElsewhere serves a cache on a machine without /nix.
func cachedElsewhere(t *testing.T, store string, want map[string]document) {
	t.Helper()
	m := newMachine(t)
	cached(t, filepath.Join(m.dir, "images"))
	if exists(t, filepath.Join(m.dir, "nix")) {
		t.Fatal("the machine has /nix")
	}
	// On a busy machine to unpack e-big takes longer than clients that follow redirects wait by default.
	s := m.start(t, options{Args: append(nixKey(t), "--store", store, "--images", "/images", "--wait", patience.String()), Env: bucketsEnv})
	hello := "store/" + hash(helloPath(t))
	pull(t, s.Host+"/"+hello)
	if got := run(t, s.Host+"/"+hello); got != "Hello, world!\n" {
		t.Errorf("hello says %q", got)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got := s.manifest(t, name, "latest", ociManifest); got.Digest != want[name].Digest {
			t.Errorf("%s is %s, from the disk %s", name, got.Digest, want[name].Digest)
		}
	}
	if strings.Contains(s.log.String(), bucketsSecret) {
		t.Error("the log has the bucket's secret")
	}
}

// Docker makes of the image of 97 layers, fetched from a cache, the image that nixpkgs made.
func TestCachesBigImageInDocker(t *testing.T) {
	endToEnd(t)
	g := goldensLike(t, "e")[0]
	m := newMachine(t)
	if err := os.Symlink(g.ConfPath, filepath.Join(m.dir, "images", "e-big.json")); err != nil {
		t.Fatal(err)
	}
	u := serveCache(t, filepath.Join(nixCaches(t), "zstd"))
	s := m.start(t, options{Args: append(nixKey(t), "--store", u.URL, "--images", "/images")})
	before := s.peakMemory(t)
	pull(t, s.Host+"/e-big")
	got := inspect(t, s.Host+"/e-big")
	if got.ID != g.ConfigDigest || !slices.Equal(got.RootFS.Layers, prefixed(g.DiffIDs)) {
		t.Errorf("image ID %s, want %s; layers %v", got.ID, g.ConfigDigest, got.RootFS.Layers)
	}
	paths := len(closure(t, root(t, "e-big")))
	if infos, archives := u.count(".narinfo"), u.count("GET /nar/"); infos != paths || archives > paths { // some paths have the same content
		t.Errorf("for %d paths the cache was asked %d times what it has, and for %d archives", paths, infos, archives)
	}
	u.stop()
	s.image(t, "e-big", "latest", ociManifest)
	if grown := s.peakMemory(t) - before; grown > crowdsMemory {
		t.Errorf("for a cold pull the server needed %d MB more", grown>>20)
	}
}

// S3 lets in nobody with a wrong secret, and the answer says so. Whoever has none is told that a bucket denies what it may
// not have, which only the log can guess to be about credentials.
func TestCachesWrongSecretOfABucket(t *testing.T) {
	endToEnd(t)
	s3 := serveBuckets(t, map[string]string{"cache": filepath.Join(nixCaches(t), "zstd")})
	hello := "store/" + hash(helloPath(t))
	o := options{Args: append(nixKey(t), "--store", bucket(s3, "cache"))}
	o.Env = []string{bucketsEnv[0], "AWS_SECRET_ACCESS_KEY=wrong-secret", bucketsEnv[2]}
	s := start(t, o)
	code, body := s.refused(t, hello, "latest")
	if code != http.StatusBadGateway || !strings.Contains(body, "AWS_SECRET_ACCESS_KEY") {
		t.Errorf("with a wrong secret: %d %s, want 502 and what to look at", code, body)
	}
	if strings.Contains(body+s.log.String(), "wrong-secret") {
		t.Error("the answer or the log has the secret")
	}

	o.Env = []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", bucketsEnv[2]}
	s = start(t, o)
	s.refused(t, hello, "latest")
	s.says(t, "the log names the credentials", func(log string) bool { return strings.Contains(log, "credentials") })
}

// The names of a channel lead a machine without Nix to real packages.
func TestChannelOfRealPaths(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	var paths []string
	for _, r := range []string{"hello", "big-all"} {
		paths = append(paths, closure(t, root(t, r))...)
	}
	channel := localServer(t, newChannel(t, paths, map[string]string{"hello": hello, "debianPackages.hello": hello}))
	u := serveCache(t, filepath.Join(nixCaches(t), "zstd"))
	s := newMachine(t).start(t, options{Args: append(nixKey(t), "--store", u.URL, "--channel", channel.URL+"/"+channelName)})
	for _, name := range []string{"hello", "hello:" + version(hello), "hello:" + channelName, "debianpackages.hello"} {
		pull(t, s.Host+"/"+name)
		if got := run(t, s.Host+"/"+name); got != "Hello, world!\n" {
			t.Errorf("%s says %q", name, got)
		}
	}
	if n := u.count("GET /nar/"); n != len(closure(t, hello)) {
		t.Errorf("for hello %d archives were fetched, its closure has %d", n, len(closure(t, hello)))
	}
}
