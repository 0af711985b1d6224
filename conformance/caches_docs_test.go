package conformance_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// storesPage has a command for each way to name a store, which is run as it stands there, with other addresses.
const storesPage = "../docs/stores.md"

// pageKey is what readers of the page put their cache's key in the place of.
const pageKey = "vTh…0Tk="

// paged starts the server of a page's command: that of its lines which has a part. It is run by a shell, as readers do.
func paged(t *testing.T, part string, env []string, replace ...string) *server {
	t.Helper()
	var command string
	for line := range strings.Lines(snippet(t, storesPage, part)) {
		if strings.Contains(line, part) {
			command = strings.TrimSpace(line)
		}
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(command, replace[i]) {
			t.Fatalf("%s: %s has no %s", storesPage, command, replace[i])
		}
		command = strings.ReplaceAll(command, replace[i], replace[i+1])
	}
	o := options{Data: filepath.Join(t.TempDir(), "data")}
	s := &server{Data: o.Data, log: newServerLog(), done: make(chan struct{})}
	s.cmd = exec.Command("sh", "-euc", "exec "+command+" --listen 127.0.0.1:0 --data "+o.Data)
	s.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	s.cmd.Env = append(s.cmd.Env, env...)
	s.run(t)
	return s
}

// tinyPublic is the base64 of the tiny cache's key, as it stands in a URL.
func tinyPublic(t *testing.T) (name, key string) {
	t.Helper()
	name, key, _ = strings.Cut(tinyKey(t), ":")
	return name, key
}

// Where the page has nixpkgs' cache and a key that is built in, the test has the tiny one and its key in the environment.
func TestStoresPageFirstCommand(t *testing.T) {
	want := tinyImage(t)
	u, channel := serveTiny(t), localServer(t, tinyChannel(t))
	key := []string{"NIXREG_TRUSTED_PUBLIC_KEY=" + tinyKey(t)}
	s := paged(t, "serve --store https://cache.nixos.org", key, "https://cache.nixos.org", u.URL, "nixos-unstable", channel.URL+"/"+channelName)
	sameImage(t, "app", s.image(t, "app", "latest", accepts["oci"]...), want)

	file := yamlFile(t, "%s", snippet(t, storesPage, "store: [local", "local, https://cache.nixos.org", u.URL, "nixos-unstable", channel.URL+"/"+channelName))
	s = start(t, options{Args: []string{"--config", file}, Env: key})
	sameImage(t, "app, by the configuration file", s.image(t, "app", channelName, accepts["oci"]...), want)
}

// A key in the URL, that of a directory in a file, and credentials of all kinds.
func TestStoresPageKeysAndCredentials(t *testing.T) {
	want := tinyImage(t)
	name, key := tinyPublic(t)
	public := serveTiny(t)
	paged(t, "https://cache.example.org", nil, "https://cache.example.org", public.URL, "cache.example.org-1:"+pageKey, name+":"+key).
		isTiny(t, "a key in the URL", want)

	pub := filepath.Dir(tinyCache) + "/cache.pub"
	paged(t, "serve --store file:///srv/cache", nil, "/srv/cache", absolute(t, tinyCache), "/etc/nix/cache.pub", absolute(t, pub)).
		isTiny(t, "a key in a file", want)

	netrc := secretFile(t, snippet(t, storesPage, "machine team.cachix.org", "team.cachix.org", "localhost", "eyJh…", cachePassword))
	private := serveTiny(t).wanting(func(r *http.Request) bool {
		_, password, _ := r.BasicAuth()
		return password == cachePassword
	})
	paged(t, "--netrc-file", nil, "https://team.cachix.org", private.URL, "team.cachix.org-1:"+pageKey, name+":"+key, "/etc/nix/netrc", netrc).
		isTiny(t, "netrc", want)

	bearer := serveTiny(t).wanting(hasToken)
	paged(t, "token-file=", nil, "https://attic.example.org/team", bearer.URL, "team:"+pageKey, name+":"+key, "/run/secrets/attic", secretFile(t, cacheToken)).
		isTiny(t, "token", want)
}

// The page's bucket is one of versitygw.
func TestStoresPageBuckets(t *testing.T) {
	endToEnd(t)
	want := tinyImage(t)
	name, key := tinyPublic(t)
	s3 := serveBuckets(t, map[string]string{"bucket": absolute(t, tinyCache)})
	paged(t, "minio.example.org", bucketsEnv, "minio.example.org:9000", s3.Host, "cache-1:"+pageKey, name+":"+key).
		isTiny(t, "a bucket", want)
}

// What nix copy writes by the page's command is served by the command below it.
func TestStoresPageNixCopy(t *testing.T) {
	endToEnd(t)
	dir, hello := t.TempDir(), helloPath(t)
	sec, pub := filepath.Join(dir, "cache.sec"), filepath.Join(dir, "cache.pub")
	output(t, nixEnv, "nix-store", "--generate-binary-cache-key", "page-1", sec, pub)
	cache := filepath.Join(dir, "cache")
	for line := range strings.Lines(snippet(t, storesPage, "nix copy --to",
		"file:///srv/cache?", "file://"+cache+"?", "/etc/nix/cache.sec", sec, "/nix/var/nix/profiles/default", hello)) {
		if strings.HasPrefix(line, "nix copy") {
			output(t, append(nixEnv, "NIX_CONFIG=build-users-group =\nexperimental-features = nix-command\n"), "sh", "-euc", line)
		}
	}
	s := paged(t, "serve --store file:///srv/cache", nil, "/srv/cache", cache, "/etc/nix/cache.pub", pub)
	want := start(t, local).manifest(t, "hello", hash(hello), ociManifest)
	if got := s.image(t, "hello", "latest", ociManifest)[0]; got.Digest != want.Digest {
		t.Errorf("from the cache hello is %s, from the disk %s", got.Digest, want.Digest)
	}
}

// The page's several stores, where this machine has one.
func TestStoresPageSeveralStores(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	u, channel := serveTiny(t), localServer(t, tinyChannel(t))
	s := paged(t, "--store local", []string{"NIXREG_TRUSTED_PUBLIC_KEY=" + tinyKey(t)},
		"https://cache.nixos.org", u.URL, "nixos-unstable", channel.URL+"/"+channelName)
	s.image(t, "hello", hash(hello), ociManifest)
	s.image(t, "app", channelName, ociManifest)
}

// Every kind of store that nixreg names is in the page, and nixreg takes the page's parameters.
func TestStoresPageNamesAllStores(t *testing.T) {
	text := string(readFile(t, storesPage))
	_, err := program{path: binary}.run(t.Context(), "", "inspect", "--store", "nonsense", "hello")
	if err == nil {
		t.Fatal("nonsense is a store")
	}
	_, known, ok := strings.Cut(err.Error(), "known are ")
	if !ok {
		t.Fatalf("no list of stores in %v", err)
	}
	for _, kind := range []string{"auto", "local", "https://", "http://", "s3://", "file:///", "nix-conf"} {
		if !strings.Contains(known, kind) || !strings.Contains(text, "`"+kind) {
			t.Errorf("%s is named by nixreg: %t; by the page: %t", kind, strings.Contains(known, kind), strings.Contains(text, "`"+kind))
		}
	}
	for _, u := range []string{
		"http://127.0.0.1:1?trusted=true&netrc-file=%s&token-file=%[1]s&public-key=" + strings.ReplaceAll(tinyKey(t), "+", "%%2B"),
		"s3://bucket?region=eu-west-1&endpoint=127.0.0.1:1&scheme=http&addressing-style=path&trusted=true",
		"file://" + absolute(t, tinyCache) + "?trusted=true&compression=xz&secret-key=/x&priority=1",
	} {
		if strings.Contains(u, "%") {
			u = fmt.Sprintf(u, secretFile(t, "x"))
		}
		start(t, options{Args: []string{"--store", u}, Env: bucketsEnv}).stop(t)
	}
}
