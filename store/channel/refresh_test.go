package channel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ulikunitz/xz"
)

// httpFetcher is the simplest Fetcher there can be for a web server.
type httpFetcher string

func (f httpFetcher) GetIf(ctx context.Context, name, etag string, limit int64) (Answer, error) {
	asked := name
	if !strings.Contains(name, "://") {
		asked = string(f) + "/" + name
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, asked, nil)
	if err != nil {
		return Answer{}, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Body: res.Body, ETag: res.Header.Get("ETag")}
	if got := res.Request.URL.String(); got != asked {
		a.URL = got
	}
	switch res.StatusCode {
	case http.StatusOK:
		return a, nil
	case http.StatusNotModified:
		a.Body, a.NotModified = nil, true
		return a, res.Body.Close()
	case http.StatusNotFound:
		err = fs.ErrNotExist
	default:
		err = errors.New(res.Status)
	}
	res.Body.Close()
	return Answer{}, fmt.Errorf("%s: %w", name, err)
}

// releases is a web server of channels: /channel redirects to the folder of a release, as channels.nixos.org does. What was
// asked of it is noted.
type releases struct {
	*httptest.Server
	mu      sync.Mutex
	current string
	files   map[string][]byte // by path
	status  int               // instead of any answer
	before  func(path string) // called before an answer, unlocked
	asked   []string
}

func newReleases(t *testing.T) *releases {
	r := &releases{files: make(map[string][]byte)}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *releases) serve(w http.ResponseWriter, q *http.Request) {
	if before := r.hook(); before != nil {
		before(q.URL.Path)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != 0 {
		http.Error(w, "", r.status)
		return
	}
	if file, ok := strings.CutPrefix(q.URL.Path, "/channel/"); ok && r.current != "" {
		http.Redirect(w, q, "/"+r.current+"/"+file, http.StatusFound)
		return
	}
	data, ok := r.files[q.URL.Path]
	note := q.URL.Path
	if !ok {
		r.asked = append(r.asked, note+" 404")
		http.NotFound(w, q)
		return
	}
	etag := fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(data)))
	w.Header().Set("ETag", etag)
	if q.Header.Get("If-None-Match") == etag {
		r.asked = append(r.asked, note+" 304")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	r.asked = append(r.asked, note)
	w.Write(data)
}

func (r *releases) hook() func(string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.before
}

func (r *releases) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// took returns what was asked since the last call.
func (r *releases) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.asked
	r.asked = nil
	return out
}

func (r *releases) publish(t *testing.T, release, paths, packages string) {
	p, q := xzOf(t, paths), brotliOf(t, packages)
	r.set(func() {
		r.current = release
		r.files["/"+release+"/"+pathsFile] = p
		if packages != "" {
			r.files["/"+release+"/"+packagesFile] = q
		}
	})
}

// record is a packages.json of one package.
func record(attribute, name string) string {
	return fmt.Sprintf(`{"version":2,"packages":{%q:{"name":%q,"outputs":{"out":null}}}}`, attribute, name)
}

// client is a channel of r that nobody refreshes but the test.
func (r *releases) client(t *testing.T) *Channel {
	return &Channel{
		name: "x", location: r.URL + "/channel", fetch: httpFetcher(r.URL + "/channel"), log: discard,
		file: filepath.Join(t.TempDir(), "index"), reading: make(chan struct{}),
	}
}

func TestRefresh(t *testing.T) {
	server := newReleases(t)
	server.publish(t, "r1", pathWith("a", "hello-1"), record("hello", "hello-1"))
	c := server.client(t)

	step := func(what, want string, asked ...string) {
		t.Helper()
		if !c.attempt(t.Context()) {
			t.Fatalf("%s: %v", what, c.failed)
		}
		if got := lines(c.last.index); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		if got := server.took(); !slices.Equal(got, asked) {
			t.Errorf("%s: asked %q, want %q", what, got, asked)
		}
		if kept, err := load(c.file); err != nil || kept.state != c.last.state || kept.seen != c.last.seen {
			t.Errorf("%s: kept %+v, %v; want %+v", what, kept, err, c.last)
		}
	}
	p1, q1 := "/r1/"+pathsFile, "/r1/"+packagesFile
	p2, q2 := "/r2/"+pathsFile, "/r2/"+packagesFile
	step("first", "hello-1 [hello]\n", p1, q1, p1+" 304")
	step("nothing new", "hello-1 [hello]\n", p1+" 304", q1+" 304")

	server.publish(t, "r2", pathWith("a", "hello-1")+"\n"+pathWith("b", "git-2"), "")
	step("a new release without packages", "hello-1 []\ngit-2 []\n", p2, p2, q2+" 404", p2+" 304")
	step("still without packages", "hello-1 []\ngit-2 []\n", p2+" 304", q2+" 404")

	server.publish(t, "r2", pathWith("a", "hello-1")+"\n"+pathWith("b", "git-2"), record("git", "git-2"))
	step("packages came", "hello-1 []\ngit-2 [git]\n", p2+" 304", q2, p2, q2, p2+" 304")

	server.set(func() { delete(server.files, q2) })
	step("packages went", "hello-1 []\ngit-2 []\n", p2+" 304", q2+" 404", p2, q2+" 404", p2+" 304")
}

func TestRefreshFails(t *testing.T) {
	server := newReleases(t)
	server.publish(t, "r1", pathWith("a", "hello-1"), record("hello", "hello-1"))
	c := server.client(t)
	if !c.attempt(t.Context()) {
		t.Fatal(c.failed)
	}
	good := c.last
	for name, tt := range map[string]struct {
		broken func()
		want   string
	}{
		"an outage":        {func() { server.status = 503 }, "503"},
		"a paths file":     {func() { server.files["/r1/"+pathsFile] = []byte("hello, I am no xz") }, pathsFile + ": xz"},
		"a cut paths file": {func() { f := server.files["/r1/"+pathsFile]; server.files["/r1/"+pathsFile] = f[:len(f)-30] }, pathsFile + ":"},
		"no good line":     {func() { server.files["/r1/"+pathsFile] = xzOf(t, "/gnu/store/x\n") }, pathsFile + ": there is no path below /nix/store"},
		"no release":       {func() { server.current = "r0" }, "not exist"},
		"a packages file":  {func() { server.files["/r1/"+packagesFile] = []byte("0123456789") }, packagesFile + ":"},
		"bad json":         {func() { server.files["/r1/"+packagesFile] = brotliOf(t, `{"packages":[]}`) }, packagesFile + ": offset"},
	} {
		t.Run(name, func(t *testing.T) {
			server.set(tt.broken)
			if c.attempt(t.Context()) {
				t.Fatal("no error")
			}
			if !strings.Contains(c.failed.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", c.failed, tt.want)
			}
			if c.last != good {
				t.Error("the last good one is lost")
			}
			if kept, err := load(c.file); err != nil || kept.state != good.state {
				t.Errorf("kept: %+v, %v", kept, err)
			}
			server.set(func() { server.status = 0 })
			server.publish(t, "r1", pathWith("a", "hello-1"), record("hello", "hello-1"))
			if !c.attempt(t.Context()) {
				t.Fatal(c.failed)
			}
		})
	}
}

// A release that appears between the two files does not mix with the one before.
func TestRefreshOfOneRelease(t *testing.T) {
	server := newReleases(t)
	server.publish(t, "r1", pathWith("a", "hello-1"), record("hello", "hello-1"))
	next, names := xzOf(t, pathWith("b", "hello-2")), brotliOf(t, record("hello", "hello-2"))
	switched := func() {
		server.files["/r2/"+pathsFile], server.files["/r2/"+packagesFile] = next, names
		server.current = "r2"
	}
	server.before = func(path string) {
		if path == "/r1/"+packagesFile {
			server.set(switched)
		}
	}
	c := server.client(t)
	if !c.attempt(t.Context()) || lines(c.last.index) != "hello-1 [hello]\n" {
		t.Fatalf("%v, %v", c.last, c.failed)
	}
	if !c.attempt(t.Context()) || lines(c.last.index) != "hello-2 [hello]\n" {
		t.Fatalf("%v, %v", c.last, c.failed)
	}
}

// Without a redirect the folder itself changes, which is noticed.
func TestRefreshNotSettled(t *testing.T) {
	server := newReleases(t)
	server.publish(t, "channel", pathWith("a", "hello-1"), record("hello", "hello-1"))
	server.current = ""
	next := xzOf(t, pathWith("b", "hello-2"))
	server.before = func(path string) {
		if path == "/channel/"+packagesFile {
			server.set(func() { server.files["/channel/"+pathsFile] = next })
		}
	}
	c := server.client(t)
	if c.attempt(t.Context()) || !strings.Contains(c.failed.Error(), "changed while") {
		t.Fatalf("%v, %v", c.last, c.failed)
	}
}

func TestRefreshFolder(t *testing.T) {
	dir := channelFolder(t, pathWith("a", "hello-1"), record("hello", "hello-1"))
	c := &Channel{location: dir, fetch: folder(dir), log: discard, reading: make(chan struct{})}
	first, encoded, err := c.read(t.Context(), nil)
	must(t, err)
	again, nothing, err := c.read(t.Context(), first)
	if err != nil || again != first || encoded == nil || nothing != nil {
		t.Errorf("read anew without a change: %v", err)
	}
	replaceFile(t, filepath.Join(dir, packagesFile), brotliOf(t, record("bye", "hello-1")))
	second, _, err := c.read(t.Context(), first)
	must(t, err)
	if got := lines(second.index); got != "hello-1 [bye]\n" {
		t.Errorf("%q", got)
	}
	c.alone = true
	third, _, err := c.read(t.Context(), nil)
	must(t, err)
	if got := lines(third.index); got != "hello-1 []\n" {
		t.Errorf("the list of paths alone: %q", got)
	}
}

// A folder has files that cannot be read.
func TestRefreshFolderRefuses(t *testing.T) {
	dir := t.TempDir()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := folder(dir).GetIf(t.Context(), pathsFile, "", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	must(t, os.Mkdir(filepath.Join(dir, pathsFile), 0o777))
	if _, err := folder(dir).GetIf(t.Context(), pathsFile, "", 1); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	writeChannel(t, t.TempDir(), pathWith("a", "x"), "")
	if _, err := folder(dir).GetIf(ended, pathsFile, "", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

func TestUnpackBounds(t *testing.T) {
	if _, err := io.Copy(io.Discard, &bounded{&endless{text: "x"}, 1000}); !errors.Is(err, errTooLong) {
		t.Errorf("1000 bytes: %v", err)
	}
	if n, err := io.Copy(io.Discard, &bounded{strings.NewReader("123"), 3}); n != 3 || err != nil {
		t.Errorf("3 bytes: %d, %v", n, err)
	}
	for name, body := range map[string]string{pathsFile: string(xzOf(t, "x")[:20]), packagesFile: "\xff", pathsFile + "?": ""} {
		err := readBody(name, Answer{Body: io.NopCloser(strings.NewReader(body))}, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for size, fits := range map[int]bool{64 << 20: true, 96 << 20: false} { // xz -9 has 64 MiB
		var b bytes.Buffer
		w, err := xz.WriterConfig{DictCap: size}.NewWriter(&b)
		must(t, err)
		must(t, w.Close())
		err = readBody(pathsFile, Answer{Body: io.NopCloser(&b)}, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if (err == nil) != fits {
			t.Errorf("a dictionary of %d bytes: %v", size, err)
		}
	}
	err := readBody(pathsFile, Answer{NotModified: true}, nil)
	if err == nil {
		t.Error("a server that says 304 to everything")
	}
	panics := func(io.Reader) error { panic("x") }
	if err := readBody(packagesFile, Answer{Body: io.NopCloser(strings.NewReader(""))}, panics); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a panic: %v", err)
	}
}
