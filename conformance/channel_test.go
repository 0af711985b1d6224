package conformance_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/ulikunitz/xz"
)

// channelName is the channel of these tests, and with it a tag.
const channelName = "nixos-test"

// channelServer serves a channel as channels.nixos.org does: its address redirects to the folder of a release, whose two
// files have ETags.
type channelServer struct {
	files map[string][]byte

	mu       sync.Mutex
	release  string
	releases map[string]map[string][]byte // the files of all releases
	sent     map[string]int               // "200 store-paths.xz" and so on
}

// newChannel is a channel of these paths, with attributes (attribute to path), and a thousand paths that are nowhere.
func newChannel(t *testing.T, paths []string, attributes map[string]string) *channelServer {
	t.Helper()
	for i := range 1000 {
		paths = append(paths, forgedPath(fmt.Sprintf("invented%d-1.%d", i%700, i)))
	}
	slices.Sort(paths)
	c := &channelServer{
		files: map[string][]byte{
			"store-paths.xz":   xzipped(t, []byte(strings.Join(paths, "\n")+"\n")),
			"packages.json.br": brotlied(t, packagesJSON(t, attributes)),
		},
		release:  "nixos-test-1",
		releases: make(map[string]map[string][]byte),
		sent:     make(map[string]int),
	}
	c.releases[c.release] = c.files
	return c
}

// packagesJSON has the shape of nixpkgs' packages.json.
func packagesJSON(t *testing.T, attributes map[string]string) []byte {
	t.Helper()
	type entry map[string]any
	all := make(map[string]entry)
	for attribute, path := range attributes {
		name := filepath.Base(path)[33:]
		pname, version, _ := strings.Cut(name, "-")
		all[attribute] = entry{
			"name": name, "pname": pname, "version": version, "system": "x86_64-linux", "outputName": "out",
			"outputs": map[string]any{"out": nil},
			"meta": entry{
				"available": true, "broken": false, "description": `with "quotes", [brackets] and {braces}`, "position": "pkgs/x.nix:1",
				"license": []entry{{"spdxId": "MIT", "free": true}}, "platforms": []string{"x86_64-linux"},
			},
		}
	}
	b, err := json.Marshal(map[string]any{"version": 2, "packages": all})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// xzipped is what the xz program makes of it, where a test needs no more than Go what a library does.
func xzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	if os.Getenv("NIXREG_E2E") == "1" {
		cmd := exec.CommandContext(t.Context(), debian(t, "xz").path, "--compress", "--stdout")
		cmd.Stdin = bytes.NewReader(b)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("xz: %v %s", err, stderrOf(err))
		}
		return out
	}
	return packed(t, b, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
}

func brotlied(t *testing.T, b []byte) []byte {
	t.Helper()
	return packed(t, b, func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil })
}

func packed(t *testing.T, b []byte, pack func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pack(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (c *channelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rest, ok := strings.CutPrefix(r.URL.Path, "/"+channelName); ok {
		http.Redirect(w, r, "/releases/"+c.release+rest, http.StatusFound)
		return
	}
	release, name := path.Split(r.URL.Path)
	body := c.releases[path.Base(release)][name]
	if path.Dir(path.Clean(release)) != "/releases" || body == nil {
		http.NotFound(w, r)
		return
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(body))
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		c.sent["304 "+name]++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	c.sent["200 "+name]++
	_, _ = w.Write(body)
}

// count is how often a file was sent, or found unchanged.
func (c *channelServer) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[what]
}

// move makes another release of the channel's files, with other paths and attributes.
func (c *channelServer) move(release string, from *channelServer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release, c.files = release, from.files
	c.releases[release] = from.files
}

// tinyChannel has the packages of the tiny cache. The attribute of odd has a dot, as those of package sets have.
func tinyChannel(t *testing.T) *channelServer {
	t.Helper()
	return newChannel(t, []string{tinyApp, tinyOdd}, map[string]string{"app": tinyApp, "someSet.oddPackage": tinyOdd})
}

// named are options for a server that has names from a channel, and the paths from a cache.
func named(t *testing.T, channel *server, store string) options {
	t.Helper()
	return caches(t, store).with("--channel", channel.URL+"/"+channelName)
}

// A channel gives names to what a cache has: package and version, attribute, and the channel's own name as a tag.
func TestChannelNames(t *testing.T) {
	want := tinyImage(t)
	u := serveTiny(t)
	s := start(t, named(t, localServer(t, tinyChannel(t)), u.URL))
	for _, tag := range []string{"latest", "1.2.3", channelName, hash(tinyApp)} {
		sameImage(t, "app:"+tag, s.image(t, "app", tag, accepts["oci"]...), want)
	}
	odd := s.image(t, "store/"+hash(tinyOdd), "latest")
	for _, name := range []string{"odd", "someset.oddpackage"} {
		for _, tag := range []string{"latest", "3.14", channelName} {
			sameImage(t, name+":"+tag, s.image(t, name, tag), odd)
		}
	}
	var list struct{ Tags []string }
	s.json(t, "/v2/app/tags/list", &list)
	for _, tag := range []string{"latest", "1.2.3", channelName} {
		if !slices.Contains(list.Tags, tag) {
			t.Errorf("the tags of app are %v, want %s among them", list.Tags, tag)
		}
	}
	code, body := s.refused(t, "invented5", "latest")
	if code != http.StatusNotFound || !strings.Contains(body, "invented5-1.") {
		t.Errorf("what the channel names and no cache has: %d %s, want 404 and the path", code, body)
	}
	if code, body := s.refused(t, "nothing-of-that-name", "latest"); code != http.StatusNotFound {
		t.Errorf("what is in no channel: %d %s, want 404", code, body)
	}
}

// The names need no network once they were read: not for what did not change, and not when the channel is gone.
func TestChannelIsRemembered(t *testing.T) {
	want := tinyImage(t)
	u, c := serveTiny(t), tinyChannel(t)
	front := gate(t, localServer(t, c))
	o := named(t, &server{URL: front.URL}, u.URL)
	s := start(t, o)
	sameImage(t, "from the channel", s.image(t, "app", channelName, accepts["oci"]...), want)
	s.stop(t)
	o.Data = s.Data

	s = start(t, o)
	sameImage(t, "from the channel's index", s.image(t, "app", channelName, accepts["oci"]...), want)
	eventually(t, "the channel is asked whether it changed", func() bool { return c.count("304 store-paths.xz") > 0 })
	s.stop(t)
	if n := c.count("200 store-paths.xz") + c.count("200 packages.json.br"); n != 2 {
		t.Errorf("the channel's two files were sent %d times", n)
	}

	front.stop()
	s = start(t, o)
	sameImage(t, "without the channel", s.image(t, "app", channelName, accepts["oci"]...), want)
	sameImage(t, "never pulled before, without the channel", s.image(t, "odd", channelName), s.image(t, "store/"+hash(tinyOdd), "latest"))
	s.stop(t)

	u.stop()
	s = start(t, o)
	for _, tag := range []string{"latest", "1.2.3", channelName} {
		sameImage(t, "without channel and cache, app:"+tag, s.image(t, "app", tag, accepts["oci"]...), want)
	}
}

// A channel that moves on is followed, both files of one release.
func TestChannelMoves(t *testing.T) {
	u, c := serveTiny(t), tinyChannel(t)
	at := localServer(t, c)
	o := named(t, at, u.URL).with("--channel", "fixed="+at.URL+"/releases/nixos-test-1")
	s := start(t, o)
	sameImage(t, "the channel and its release", s.image(t, "app", channelName), s.image(t, "app", "fixed"))
	fixed := s.image(t, "app", "fixed")
	s.stop(t)
	o.Data = s.Data
	c.move("nixos-test-2", newChannel(t, []string{tinyOdd}, map[string]string{"renamed": tinyOdd}))
	s = start(t, o) // it asks at once; the next time is in a minute at the earliest
	eventually(t, "the new release has names", func() bool {
		return s.status(t, "/v2/renamed/manifests/"+channelName, accepts["oci"]...) == http.StatusOK
	})
	if code, body := s.refused(t, "app", channelName); code != http.StatusNotFound {
		t.Errorf("what the channel has no more: %d %s, want 404", code, body)
	}
	sameImage(t, "what a fixed release has", s.image(t, "app", "fixed"), fixed)
}

// A folder with the two files is a channel, too, and so is one with the paths alone.
func TestChannelInADirectory(t *testing.T) {
	want := tinyImage(t)
	u, c := serveTiny(t), tinyChannel(t)
	dir := filepath.Join(t.TempDir(), channelName)
	writeInto(t, dir, "store-paths.xz", c.files["store-paths.xz"])
	s := start(t, caches(t, u.URL).with("--channel", dir))
	sameImage(t, "names of paths", s.image(t, "app", channelName, accepts["oci"]...), want)
	s.refused(t, "someset.oddpackage", "latest")
	s.stop(t)

	writeInto(t, dir, "packages.json.br", c.files["packages.json.br"])
	s = start(t, caches(t, u.URL).with("--channel", "mine="+dir))
	sameImage(t, "attributes", s.image(t, "someset.oddpackage", "mine"), s.image(t, "odd", "latest"))
}

// A channel that was never read is no reason to say that a name is unknown.
func TestChannelNeverRead(t *testing.T) {
	t.Parallel() // it waits most of the time
	u := serveTiny(t)
	front := gate(t, localServer(t, tinyChannel(t)))
	front.stop()
	s := start(t, named(t, &server{URL: front.URL}, u.URL))
	if code, body := s.refused(t, "app", "latest"); code != http.StatusBadGateway || !strings.Contains(body, channelName) {
		t.Errorf("%d %s, want 502 and the channel's name", code, body)
	}
	s.image(t, appImage, "latest")
}
