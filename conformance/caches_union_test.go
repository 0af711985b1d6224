package conformance_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// splitCache copies every other path of a cache into one directory and the rest into a second one.
func splitCache(t *testing.T, cache string) (one, other string) {
	t.Helper()
	one, other = t.TempDir(), t.TempDir()
	infos, err := filepath.Glob(filepath.Join(cache, "*.narinfo"))
	if err != nil || len(infos) < 2 {
		t.Fatalf("%s has %d paths, %v", cache, len(infos), err)
	}
	for i, file := range infos {
		to := one
		if i%2 == 1 {
			to = other
		}
		info := readFile(t, file)
		_, url, _ := strings.Cut(string(info), "URL: ")
		url, _, _ = strings.Cut(url, "\n")
		writeInto(t, to, filepath.Base(file), info)
		writeInto(t, to, url, readFile(t, filepath.Join(cache, url)))
	}
	for _, dir := range []string{one, other} {
		writeInto(t, dir, "nix-cache-info", readFile(t, filepath.Join(cache, "nix-cache-info")))
	}
	return one, other
}

func writeInto(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A closure may be spread over several caches of several kinds; neither alone is enough.
func TestCachesMakeAUnion(t *testing.T) {
	want := tinyImage(t)
	one, other := splitCache(t, tinyCache)
	u := serveCache(t, other)
	start(t, caches(t, "file://"+one, u.URL)).isTiny(t, "directory, then server", want)
	start(t, caches(t, u.URL, "file://"+one)).isTiny(t, "server, then directory", want)
	for _, alone := range []string{"file://" + one, u.URL} {
		if code, body := start(t, caches(t, alone)).refused(t, appImage, "latest"); code != http.StatusNotFound {
			t.Errorf("half a closure from %s: %d %s, want 404", alone, code, body)
		}
	}
}

// While a cache is down, the others are asked; what nobody else has is not said to be unknown.
func TestCachesOneIsDown(t *testing.T) {
	t.Parallel() // it waits most of the time
	want := tinyImage(t)
	down := serveCache(t, t.TempDir())
	down.stop()
	u := serveTiny(t)
	s := start(t, caches(t, down.URL, u.URL))
	s.isTiny(t, "behind a cache that is down", want)
	code, body := s.refused(t, "store/"+hash(forgedPath("absent-1.0")), "latest")
	if code != http.StatusBadGateway || !strings.Contains(body, "UNAVAILABLE") {
		t.Errorf("a path that only the cache that is down may have: %d %s, want 502 UNAVAILABLE", code, body)
	}
}

// Whatever a cache answers for a path that it does not have, or for one archive, it goes on for all others at once.
func TestCachesOneBadAnswer(t *testing.T) {
	want := tinyImage(t)
	absent := hash(forgedPath("absent-1.0"))
	login := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		fmt.Fprint(w, "<html>Please log in</html>")
	}
	for name, c := range map[string]struct {
		f    fault
		code int
	}{
		"403": {status(403), 404}, "404": {status(404), 404}, "410": {status(410), 404}, "400": {status(400), 502}, "401": {status(401), 502},
		"407": {status(407), 502}, "204": {status(204), 502}, "500": {status(500), 502}, "503": {status(503), 502}, "301": {status(301), 502},
		"a redirect that is refused": {status(302, "Location", "ftp://localhost/x"), 502}, "none": {drop, 502},
		"429, for long": {status(429, "Retry-After", "600"), 502}, "a page": {login, 502}, "nothing": {status(200), 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // tries in vain take their time
			u := serveTiny(t)
			u.spoil(absent+".narinfo", always, c.f)
			s := start(t, caches(t, u.URL))
			for range 2 {
				if code, body := s.refused(t, "store/"+absent, "latest"); code != c.code {
					t.Errorf("a path that is not there: %d %s, want %d", code, body, c.code)
				}
			}
			s.isTiny(t, "after "+name, want)

			u.spoil(narOf(t, tinyLeaf), always, c.f)
			s = start(t, caches(t, u.URL))
			if code, body := s.refused(t, appImage, "latest"); code != c.code {
				t.Errorf("an image whose archive is not given: %d %s, want %d", code, body, c.code)
			}
			u.heal()
			s.isTiny(t, "once the archive is given", want)
		})
	}
}

// The first cache that has a path gives it.
func TestCachesFirstOneWins(t *testing.T) {
	first, second := serveTiny(t), serveTiny(t)
	start(t, caches(t, first.URL, second.URL)).image(t, appImage, "latest")
	if n := second.count("GET /nar/"); n != 0 {
		t.Errorf("the second cache was asked for %d archives that the first one has", n)
	}
	first.once(t)
}

// A cache that fails for a while is asked again, and no client sees anything of it.
func TestCachesFaultsThatPass(t *testing.T) {
	want := tinyImage(t)
	for name, f := range map[string]fault{
		"500":              status(http.StatusInternalServerError),
		"503":              status(http.StatusServiceUnavailable),
		"429, Retry-After": status(http.StatusTooManyRequests, "Retry-After", "1"),
		"no answer":        drop,
		"cut half way":     cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := serveTiny(t)
			u.spoil(hash(tinyLeaf)+".narinfo", 1, f)
			u.spoil(narOf(t, tinyLeaf), 2, f)
			begin := time.Now()
			start(t, caches(t, u.URL)).isTiny(t, "after "+name, want)
			if took := time.Since(begin); strings.Contains(name, "Retry-After") && took < 3*time.Second { // three answers wanted a second each
				t.Errorf("the cache was asked again too early: all of it took %v", took)
			}
		})
	}
}

// narOf is the request for the archive of one of the tiny cache's paths.
func narOf(t *testing.T, storePath string) string {
	t.Helper()
	_, url, ok := bytes.Cut(readFile(t, filepath.Join(tinyCache, hash(storePath)+".narinfo")), []byte("URL: "))
	if !ok {
		t.Fatalf("no URL of %s", storePath)
	}
	url, _, _ = bytes.Cut(url, []byte("\n"))
	return "GET /" + string(url)
}

// A connection that breaks half way is taken up again where it broke: no byte comes twice.
func TestCachesResume(t *testing.T) {
	const size = 1 << 20
	f := newForge()
	all := f.chain("resumed", 3, size)
	last := all[len(all)-1]
	u := f.serve(t)
	for _, p := range all {
		u.spoil(f.url(p), 1, cut)
	}
	s := start(t, f.options(u.URL))
	s.image(t, "store/"+hash(last), "latest")
	for _, p := range all {
		asked := u.requests(f.url(p))
		if len(asked) != 2 || !resumesWithin(asked[1].span, size/2+1024) {
			t.Errorf("%s: %d requests, %q; want a second one for the rest", p, len(asked), asked)
		}
	}
	s.onlyWhole(t, len(all))
}

// A server that does not know ranges is read from the beginning, and still no wrong byte is used.
func TestCachesResumeWithoutRanges(t *testing.T) {
	f := newForge()
	all := f.chain("unranged", 2, 1<<20)
	u := f.serve(t)
	next := u.proxy
	u.proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	})
	u.spoil(f.url(all[0]), 1, cut)
	want := start(t, f.options(f.serve(t).URL)).image(t, "store/"+hash(all[1]), "latest")
	sameImage(t, "without ranges", start(t, f.options(u.URL)).image(t, "store/"+hash(all[1]), "latest"), want)
}
