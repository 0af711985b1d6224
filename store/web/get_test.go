package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/store"
)

func TestGet(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" || r.UserAgent() != "nixreg" || r.Header.Get("Authorization") != "" {
			t.Errorf("%v", r.Header)
		}
		io.WriteString(w, r.URL.RequestURI())
	})
	c := client(t, s.URL+"/sub/")
	for name, want := range map[string]string{"x.narinfo": "/sub/x.narinfo", "nar/a.nar?hash=b": "/sub/nar/a.nar?hash=b", "a%2fb": "/sub/a%2fb"} {
		b, err := c.Get(t.Context(), name, int64(len(want)))
		if err != nil || string(b) != want {
			t.Errorf("%q, %v", b, err)
		}
		if _, err = c.Get(t.Context(), name, int64(len(want))-1); !errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("limit: %v", err)
		}
	}
	if _, err := c.Get(t.Context(), "../x", 1); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

func TestGetEndless(t *testing.T) {
	ended := make(chan struct{})
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		for b := make([]byte, 4096); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	if _, err := client(t, s.URL).Get(t.Context(), "x", 100_000); !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
	<-ended
}

// Which answers mean what, and after how many tries.
func TestAnswers(t *testing.T) {
	denied := `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`
	for _, c := range []struct {
		status int
		body   string
		tries  int
		kinds  []error
		text   string
	}{
		{404, "", 1, []error{fs.ErrNotExist}, "404 Not Found"},
		{410, "", 1, []error{fs.ErrNotExist}, "410"},
		{403, denied, 1, []error{fs.ErrPermission}, "AccessDenied"},
		{404, "<Error><Code>NoSuchBucket</Code></Error>", 1, []error{store.ErrUnavailable}, "NoSuchBucket"},
		{401, "", 1, []error{store.ErrUnavailable, fs.ErrPermission}, "?netrc-file= or ?token-file="},
		{403, denied[:50], 1, []error{fs.ErrPermission}, "?netrc-file= or ?token-file="},
		{403, strings.Replace(denied, "AccessDenied", "ExpiredToken", 1), 1, []error{store.ErrUnavailable, fs.ErrPermission}, "ExpiredToken"},
		{407, "", 1, []error{store.ErrUnavailable, fs.ErrPermission}, "HTTPS_PROXY"},
		{400, "<Error><Code>Odd\n\x1b</Code></Error>", 1, []error{store.ErrUnavailable}, "400 Bad Request"},
		{204, "", 1, []error{store.ErrUnavailable}, "204"},
		{206, "x", 1, []error{store.ErrUnavailable}, "206"},
		{304, "", 1, []error{store.ErrUnavailable}, "304"},
		{301, "", 1, []error{store.ErrUnavailable}, "give ?region=eu-west-1"},
		{501, "", 1, []error{store.ErrUnavailable}, "501"},
		{408, "", 5, []error{store.ErrUnavailable}, "5 tries"}, {425, "", 5, []error{store.ErrUnavailable}, "5 tries"},
		{429, "", 5, []error{store.ErrUnavailable}, "5 tries"}, {500, "", 5, []error{store.ErrUnavailable}, "5 tries"},
		{502, "", 5, []error{store.ErrUnavailable}, "5 tries"}, {503, "", 5, []error{store.ErrUnavailable}, "5 tries"},
		{504, "", 5, []error{store.ErrUnavailable}, "5 tries"},
	} {
		tries := 0
		s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			tries = n
			w.Header().Set("X-Amz-Bucket-Region", "eu-west-1")
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		f := client(t, s.URL)
		f.answered.Store(true) // or else to be forbidden would not be the file's matter
		_, err := f.Get(t.Context(), "x", 100)
		for _, kind := range []error{fs.ErrNotExist, store.ErrUnavailable, fs.ErrPermission} {
			want := errors.Is(errors.Join(c.kinds...), kind)
			if errors.Is(err, kind) != want {
				t.Errorf("%d: %v: %v is %t", c.status, err, kind, !want)
			}
		}
		if tries != c.tries || len(f.slept) != c.tries-1 || !strings.Contains(err.Error(), c.text) || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%d: %d tries, slept %v: %v", c.status, tries, f.slept, err)
		}
		for i, d := range f.slept {
			if low := 250 * time.Millisecond << i; d < low || d >= low*3/2 {
				t.Errorf("%d: slept %v", c.status, f.slept)
			}
		}
	}
}

// What everybody may know of a failure is the server's address, its status, and words of ours: neither what it says, nor what
// the file of credentials has, nor where that is.
func TestPublicTexts(t *testing.T) {
	dir := t.TempDir()
	secrets := dir + "/hush"
	if err := os.WriteFile(secrets, []byte("machine 127.0.0.1 login hush password hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	says := `<Error><Code>hush</Code><Message>hush</Message></Error>`
	for status, want := range map[int]string{
		401: "it answers 401 Unauthorized: the server does not take what the netrc file has for machine 127.0.0.1",
		400: "it answers 400 Bad Request", 503: "it answers 503 Service Unavailable", 404: "it answers 404 Not Found",
		0: "cannot be asked now", -1: "there are no credentials for it",
	} {
		s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if status <= 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
			io.WriteString(w, says)
		})
		c := client(t, s.URL, func(o *Options) { o.Netrc = secrets })
		if status == -1 {
			c.keys.netrc = &keyFile[[]login]{name: dir, parse: func(string) ([]login, error) { return nil, nil }}
		}
		_, err := c.Get(t.Context(), "x", 100)
		var p interface{ Public() string }
		if !errors.As(err, &p) || p.Public() != s.URL+": "+want {
			t.Errorf("%d: %v is for everybody %v, want %s", status, err, p, want)
		}
		if strings.Contains(p.Public(), "hush") || strings.Contains(p.Public(), dir) {
			t.Errorf("%d: everybody is told %s", status, p.Public())
		}
	}
}

// Small files are asked for many at once, but not more than maxAsking; those that wait for another try hold up no other.
func TestGetsAtOnce(t *testing.T) {
	var busy, most atomic.Int32
	gate := make(chan struct{})
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), busy.Add(1)))
		defer busy.Add(-1)
		switch r.URL.Path {
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/slow":
			<-gate
		}
	})
	c := client(t, s.URL)
	asleep, awake := make(chan struct{}, 4*maxAsking), make(chan struct{})
	c.sleep = func(ctx context.Context, _ time.Duration) error {
		select {
		case asleep <- struct{}{}:
		case <-awake:
		}
		select {
		case <-awake:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for n := range 4 * maxAsking {
		ctx := ctx
		if n%2 == 0 {
			ctx = t.Context()
		}
		all.Go(func() {
			if _, err := c.Get(ctx, "bad", 10); err == nil {
				t.Error("no error")
			}
		})
	}
	for range 4 * maxAsking {
		<-asleep
	}
	if _, err := c.Get(t.Context(), "good", 10); err != nil {
		t.Error(err)
	}
	cancel()
	for range 3 * maxAsking {
		all.Go(func() {
			if _, err := c.Get(t.Context(), "slow", 10); err != nil {
				t.Error(err)
			}
		})
	}
	close(awake)
	close(gate)
	all.Wait()
	if most.Load() > maxAsking || len(c.asking) > 0 {
		t.Errorf("%d at once, %d places are taken", most.Load(), len(c.asking))
	}
}

// TestFilesThatHang: those that hang hold up others for slowAfter only, as long as they are not too many; all places come back.
func TestFilesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{asking: make(chan struct{}, maxAsking), slow: make(chan struct{}, maxSlow)}
		hang := func(n int) (end func()) {
			all := make([]slot, n)
			for i := range all {
				if err := all[i].acquire(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			return func() {
				for i := range all {
					all[i].release()
				}
			}
		}
		quick := func(want time.Duration) {
			t.Helper()
			begun := time.Now()
			var s slot
			ctx, cancel := context.WithTimeout(t.Context(), documentTimeout)
			defer cancel()
			if err := s.acquire(ctx, c); time.Since(begun) != want || (err == nil) != (want < documentTimeout) {
				t.Errorf("it waited %v, want %v: %v", time.Since(begun), want, err)
			}
			s.release()
		}
		end := hang(maxAsking)
		quick(slowAfter)
		quick(0)
		end2 := hang(maxSlow) // as many as there are places in both
		time.Sleep(slowAfter)
		quick(documentTimeout)
		end()
		time.Sleep(slowAfter)
		quick(0)
		end2()
		time.Sleep(slowAfter)
		if len(c.asking)+len(c.slow) > 0 {
			t.Errorf("%d and %d places are taken", len(c.asking), len(c.slow))
		}
	})
}

// TestNoPlaceIsKeptBetweenTries: whatever passing error a small file meets, at its beginning or half way, it has a place while it
// is asked for, and none while it waits for another try.
func TestNoPlaceIsKeptBetweenTries(t *testing.T) {
	var c *fake
	served := make(chan int, 100)
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		served <- len(c.asking)
		switch name := strings.Trim(r.URL.Path, "/"); name {
		case "reset":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		case "hangup":
			panic(http.ErrAbortHandler)
		case "cut":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
			cut(w)
		default:
			status, _ := strconv.Atoi(name)
			w.WriteHeader(status)
		}
	})
	for _, name := range []string{"408", "425", "429", "500", "502", "503", "504", "reset", "hangup", "cut"} {
		c = client(t, s.URL)
		slept := 0
		c.sleep = func(context.Context, time.Duration) error {
			if slept++; len(c.asking) > 0 {
				t.Errorf("%s: a place is kept before try %d", name, slept+1)
			}
			return nil
		}
		_, err := c.Get(t.Context(), name, 100)
		if !errors.Is(err, store.ErrUnavailable) || slept == 0 || len(c.asking) > 0 {
			t.Errorf("%s: %v after %d pauses, %d places are taken", name, err, slept, len(c.asking))
		}
		for len(served) > 0 {
			if n := <-served; n != 1 {
				t.Errorf("%s: asked for with %d places", name, n)
			}
		}
	}
	c = client(t, s.URL) // one who refuses connections
	s.Close()
	c.sleep = func(context.Context, time.Duration) error {
		if len(c.asking) > 0 {
			t.Error("refused: a place is kept")
		}
		return nil
	}
	if _, err := c.Get(t.Context(), "x", 1); !errors.Is(err, store.ErrUnavailable) || len(c.asking) > 0 {
		t.Error(err)
	}
}

// A name may have a signature behind it, which is not for those who read messages.
func TestNamesAreShownWithoutQuery(t *testing.T) {
	const name = "nar/x.nar.xz?X-Amz-Signature=hunter2"
	var log strings.Builder
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.RawQuery, "hunter2") {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(map[bool]int{true: 503, false: 404}[n == 1])
	})
	c := client(t, s.URL, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	_, err := c.Open(t.Context(), name)
	_, bad := c.Open(t.Context(), "../"+name)
	for _, text := range []string{err.Error(), bad.Error(), log.String()} {
		if !strings.Contains(text, "nar/x.nar.xz") || strings.Contains(text, "hunter2") {
			t.Error(text)
		}
	}
	if _, err := client(t, "s3://cache?endpoint="+s.URL).Open(t.Context(), "../a?b"); err == nil || !strings.Contains(err.Error(), "a?b") {
		t.Errorf("a key of S3 has no query: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for after, want := range map[string]time.Duration{
		"7": 7 * time.Second, "60": time.Minute, "Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"61": -1, "99999999999999999999": -1, "Sat, 03 Jan 2026 03:04:15 GMT": -1,
	} {
		s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Retry-After", after)
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		c := clientWith(t, fetch.Options{Now: func() time.Time { return now }}, s.URL)
		_, err := c.Get(t.Context(), "x", 1)
		switch {
		case want < 0 && (!errors.Is(err, store.ErrUnavailable) || len(c.slept) > 0):
			t.Errorf("%s: slept %v, %v", after, c.slept, err)
		case want > 0 && (err != nil || len(c.slept) != 1 || c.slept[0] != want):
			t.Errorf("%s: slept %v, %v", after, c.slept, err)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := client(t, "http://"+l.Addr().String())
	_, err = c.Get(t.Context(), "x", 1)
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrPermission) || len(c.slept) != 4 {
		t.Errorf("slept %v: %v", c.slept, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, "x", 1); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

// "EOF" says nothing to who reads it.
func TestHangUp(t *testing.T) {
	s := serve(t, func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := client(t, s.URL).Get(t.Context(), "x", 1)
	if want := s.URL + ": x: the server hangs up without an answer (5 tries)"; err == nil || err.Error() != want {
		t.Errorf("%v; want %q", err, want)
	}
}

func packed(t *testing.T, encoding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	var err error
	switch encoding {
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err = w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEncodings(t *testing.T) {
	text := strings.Repeat("StorePath: /nix/store\n", 50)
	for _, e := range []string{"gzip", "x-gzip", "br", "zstd", "xz", "GZIP"} {
		b := packed(t, strings.TrimPrefix(e, "x-"), text)
		s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", e)
			w.Write(b)
		})
		c := client(t, s.URL)
		got, err := c.Get(t.Context(), "x.narinfo", int64(len(text)))
		if err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", e, len(got), err)
		}
		if _, err := c.Get(t.Context(), "x.narinfo", int64(len(text))-1); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s, limit: %v", e, err)
		}
		opened, err := c.Open(t.Context(), "x.nar") // by a proxy that does not look at Accept-Encoding
		if err != nil {
			t.Fatal(err)
		}
		if got, err = io.ReadAll(opened); err != nil || string(got) != text {
			t.Errorf("%s, open: %d bytes, %v", e, len(got), err)
		}
		opened.Close()
		suffix := map[string]string{"br": "br", "zstd": "zst", "xz": "xz"}[e]
		if suffix == "" {
			suffix = "gz"
		}
		stored, err := c.Open(t.Context(), "x.nar."+suffix+"?hash=a")
		if err != nil {
			t.Fatal(err)
		}
		if got, err = io.ReadAll(stored); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s, as stored: %v", e, err)
		}
		stored.Close()
		a, err := c.GetIf(t.Context(), "packages.json.br", "", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = io.ReadAll(a.Body); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s, as stored: %v", e, err)
		}
		a.Body.Close()
	}
}

func TestBadEncoding(t *testing.T) {
	for _, e := range []string{"gzip", "br", "zstd", "xz", "bzip2", "deflate", "gzip, br"} {
		s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", e)
			io.WriteString(w, "\xfd7zXZ\x00 none of them")
		})
		if _, err := client(t, s.URL).Get(t.Context(), "x", 1000); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", e, err)
		}
		opened, err := client(t, s.URL).Open(t.Context(), "x")
		if err == nil {
			_, err = io.ReadAll(opened)
			opened.Close()
		}
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "Content-Encoding") {
			t.Errorf("%s, opened: %v", e, err)
		}
	}
}

func TestGetIf(t *testing.T) {
	modified := "Fri, 02 Jan 2026 03:04:15 GMT"
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/unstable/a", "/unstable/t":
			http.Redirect(w, r, strings.Replace(r.URL.String(), "unstable", "release/1", 1)+"?sig=secret", http.StatusFound)
		case "/release/1/a", "/release/1/b":
			w.Header().Set("ETag", `W/"1"`)
			if r.Header.Get("If-None-Match") == `W/"1"` {
				w.WriteHeader(http.StatusNotModified)
			}
			io.WriteString(w, "body")
		case "/release/1/t":
			http.ServeContent(w, r, "t", must(http.ParseTime(modified)), strings.NewReader("body"))
		default:
			http.NotFound(w, r)
		}
	})
	c := client(t, s.URL+"/unstable")
	final := s.URL + "/release/1/"
	if _, err := c.GetIf(t.Context(), "https://elsewhere.example/x", "", 9); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	for _, q := range []struct{ name, etag, want, url string }{
		{"a", "", `W/"1"`, final + "a"}, {"t", "", "modified:" + modified, final + "t"}, {final + "b", "", `W/"1"`, ""}, {"a", `"0"`, `W/"1"`, final + "a"},
	} {
		a, err := c.GetIf(t.Context(), q.name, q.etag, 4)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		b, err := io.ReadAll(a.Body)
		if a.Body.Close(); err != nil || string(b) != "body" || a.NotModified || a.ETag != q.want || a.URL != q.url {
			t.Errorf("%+v: %+v, %q, %v", q, a, b, err)
		}
		if a, err = c.GetIf(t.Context(), q.name, q.want, 4); err != nil || !a.NotModified || a.Body != nil || a.ETag != q.want || a.URL != q.url {
			t.Errorf("%+v, again: %+v, %v", q, a, err)
		}
		if a, err = c.GetIf(t.Context(), q.name, q.etag, 3); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%+v, limit: %+v, %v", q, a, err)
		}
	}
	if _, err := c.GetIf(t.Context(), "c", "", 9); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
