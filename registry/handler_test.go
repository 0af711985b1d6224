package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// errorsOf reads an error body.
func errorsOf(t *testing.T, res *http.Response, body string) errorEntry {
	t.Helper()
	var doc struct{ Errors []errorEntry }
	if err := json.Unmarshal([]byte(body), &doc); err != nil || len(doc.Errors) != 1 {
		t.Fatalf("error body %q: %v", body, err)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type of an error is %q", ct)
	}
	return doc.Errors[0]
}

func TestErrorTable(t *testing.T) {
	type row struct {
		code   string
		status int
	}
	want := map[errorCode]row{
		errUnknown:         {"UNKNOWN", 500},
		errNameInvalid:     {"NAME_INVALID", 400},
		errNameUnknown:     {"NAME_UNKNOWN", 404},
		errTagInvalid:      {"TAG_INVALID", 400},
		errManifestUnknown: {"MANIFEST_UNKNOWN", 404},
		errBlobUnknown:     {"BLOB_UNKNOWN", 404},
		errDigestInvalid:   {"DIGEST_INVALID", 400},
		errPage:            {"PAGINATION_NUMBER_INVALID", 400},
		errRange:           {"RANGE_INVALID", 416},
		errDenied:          {"DENIED", 403},
		errMethod:          {"UNSUPPORTED", 405},
		errEndpoint:        {"UNSUPPORTED", 404},
		errUnavailable:     {"UNAVAILABLE", 503},
		errRefused:         {"DENIED", 403},
		errTooMany:         {"TOOMANYREQUESTS", 429},
		errUpstream:        {"UNAVAILABLE", 502},
	}
	if len(want) != len(errorTable) {
		t.Fatalf("table has %d rows, test %d", len(errorTable), len(want))
	}
	for i, r := range errorTable {
		w := httptest.NewRecorder()
		writeError(newResponse(w, http.MethodGet, 1), errorCode(i), "the <text>\nof it", &detail{Repository: "a"})
		res := w.Result()
		e := errorsOf(t, res, w.Body.String())
		if c := want[errorCode(i)]; res.StatusCode != c.status || e.Code != c.code {
			t.Errorf("row %d: got %d %s, want %d %s", i, res.StatusCode, e.Code, c.status, c.code)
		}
		message := r.message
		if r.explain {
			message = "the <text>; of it"
		}
		if e.Message != message || r.message == "" || e.Detail.Repository != "a" {
			t.Errorf("%s: message %q, want %q", r.code, e.Message, message)
		}
		if got := res.Header.Get("Retry-After") != ""; got != slices.Contains([]int{429, 502, 503}, res.StatusCode) {
			t.Errorf("%s: has Retry-After: %t", r.code, got)
		}
	}
}

func TestTruncate(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "abcd": "abc…", "abä": "ab…", "äbc": "äb…"} {
		if got := truncate(in, 3); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Every kind of error of a source, on every route that asks it.
func TestSourceErrors(t *testing.T) {
	var err error
	h := &Handler{Source: fake{
		manifest: func(context.Context, Request) (*v1.Descriptor, error) { return nil, err },
		blob:     func(context.Context, BlobRequest) (Blob, error) { return nil, err },
	}, Lister: fake{
		tags:  func(context.Context, string) ([]string, error) { return nil, err },
		names: func(context.Context) ([]string, error) { return nil, err },
	}}
	routes := map[string]string{
		"/v2/a/manifests/latest":    "MANIFEST_UNKNOWN",
		"/v2/a/manifests/" + sha256: "MANIFEST_UNKNOWN",
		"/v2/a/blobs/" + sha256:     "BLOB_UNKNOWN",
		"/v2/a/tags/list":           "NAME_UNKNOWN",
		"/v2/_catalog":              "NAME_UNKNOWN",
	}
	for _, c := range []struct {
		err          error
		status       int
		code         string // "" for the route's
		told         bool   // the client gets the error's public text, if it has one
		level        string
		withoutCause bool
	}{
		{fmt.Errorf("no package a: %w", fs.ErrNotExist), 404, "", true, "INFO", false},
		{fmt.Errorf("a is a file: %w", fs.ErrInvalid), 404, "", true, "INFO", false},
		{fmt.Errorf("a is for darwin: %w", errors.ErrUnsupported), 404, "", true, "INFO", false},
		{fmt.Errorf("open /secret: %w", fs.ErrPermission), 403, "DENIED", false, "WARN", false},
		{fmt.Errorf("builder at 10.0.0.1: %w", context.DeadlineExceeded), 503, "UNAVAILABLE", false, "WARN", false},
		{fmt.Errorf("open: %w", syscall.EMFILE), 503, "UNAVAILABLE", false, "ERROR", false},
		{fmt.Errorf("nobody left: %w", context.Canceled), 500, "UNKNOWN", false, "ERROR", true},
		{errors.New("password is 1234"), 500, "UNKNOWN", false, "ERROR", true},
	} {
		err = fmt.Errorf("%w", public{c.err, publicOf})
		for path, missing := range routes {
			var book logbook
			h := &Handler{Source: h.Source, Lister: h.Lister, Log: book.logger(slog.LevelInfo)}
			res, body := ask(h, "GET", path, nil)
			e := errorsOf(t, res, body)
			want := c.code
			if want == "" {
				want = missing
			}
			if res.StatusCode != c.status || e.Code != want {
				t.Errorf("%s: %v: got %d %s, want %d %s", path, c.err, res.StatusCode, e.Code, c.status, want)
			}
			if told := strings.Contains(body, publicOf); told != c.told {
				t.Errorf("%s: %v: told %t: %s", path, c.err, told, body)
			}
			if strings.Contains(body, c.err.Error()) {
				t.Errorf("%s: %v: the client is told: %s", path, c.err, body)
			}
			if c.withoutCause && e.Detail != nil {
				t.Errorf("%s: %v: detail %+v", path, c.err, e.Detail)
			}
			log := book.String()
			if strings.Count(log, "\n") != 1 || !strings.Contains(log, "level="+c.level) || !strings.Contains(log, c.err.Error()) {
				t.Errorf("%s: %v: want one line of level %s: %s", path, c.err, c.level, log)
			}
		}
	}
}

const publicOf = "what everybody may know"

// An error without a public text is for the log alone, whatever its kind. So no text of a file reaches a client because
// somebody wrapped it.
func TestErrorsAreNotTold(t *testing.T) {
	secret := errors.New(`line 3: "DB_PASSWORD=x"`)
	for _, kind := range []error{
		fs.ErrNotExist, fs.ErrInvalid, errors.ErrUnsupported, fs.ErrPermission, context.DeadlineExceeded, io.EOF, &StatusError{Status: 403, Err: io.EOF},
		&StatusError{Status: 429, Err: io.EOF}, &StatusError{Status: 502, Err: io.EOF},
	} {
		for name, err := range map[string]error{
			"wrapped": fmt.Errorf("web.yaml: %w: %w", secret, kind),
			"joined":  errors.Join(secret, kind),
			"within":  &StatusError{Status: 502, Err: fmt.Errorf("%w: %w", kind, secret)},
			"beside":  fmt.Errorf("%w: %w", secret, public{kind, "another reason"}),
		} {
			var book logbook
			h := &Handler{Log: book.logger(slog.LevelInfo), Source: fake{
				manifest: func(context.Context, Request) (*v1.Descriptor, error) { return nil, err },
			}}
			res, body := ask(h, "GET", "/v2/web/manifests/latest", nil)
			if strings.Contains(body, "PASSWORD") || strings.Contains(fmt.Sprint(res.Header), "PASSWORD") {
				t.Errorf("%s, %v: told: %v %s", name, kind, res.Header, body)
			}
			if !strings.Contains(book.String(), "PASSWORD") {
				t.Errorf("%s, %v: the log is %s", name, kind, book.String())
			}
		}
	}
}

func TestErrorDetail(t *testing.T) {
	h := &Handler{Source: fake{}, Lister: fake{}}
	for path, want := range map[string]detail{
		"/v2/a/b/manifests/x":       {Repository: "a/b", Tag: "x"},
		"/v2/a/blobs/" + sha256:     {Repository: "a", Digest: sha256},
		"/v2/a/blobs/" + sha512:     {Repository: "a", Digest: sha512},
		"/v2/a/manifests/" + sha512: {Repository: "a", Digest: sha512},
		"/v2/a/tags/list":           {Repository: "a"},
	} {
		res, body := ask(h, "GET", path, nil)
		if e := errorsOf(t, res, body); res.StatusCode != 404 || e.Detail == nil || *e.Detail != want {
			t.Errorf("%s: got %d %+v, want 404 %+v", path, res.StatusCode, e.Detail, want)
		}
	}
}

// A client that left is no fault of ours.
func TestClientGoneIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var book logbook
	h := &Handler{Log: book.logger(slog.LevelInfo), Source: fake{
		manifest: func(ctx context.Context, _ Request) (*v1.Descriptor, error) {
			cancel()
			return nil, fmt.Errorf("plan: %w", ctx.Err())
		},
	}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/v2/a/manifests/latest", nil))
	if w.Code != 503 || book.String() != "" {
		t.Errorf("status %d, log %q", w.Code, book.String())
	}
}

func TestPanic(t *testing.T) {
	var book logbook
	h := &Handler{Log: book.logger(slog.LevelInfo), Source: fake{
		manifest: func(context.Context, Request) (*v1.Descriptor, error) { panic("at the disco") },
		blob: func(context.Context, BlobRequest) (Blob, error) {
			return writerBlob{10, func(_ context.Context, w io.Writer, _, _ int64) error {
				if _, err := w.Write([]byte("12345")); err != nil {
					return err
				}
				panic("half way")
			}}, nil
		},
	}}
	res, body := ask(h, "GET", "/v2/a/manifests/latest", nil)
	if e := errorsOf(t, res, body); res.StatusCode != 500 || e.Code != "UNKNOWN" || strings.Contains(body, "disco") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	if log := book.String(); !strings.Contains(log, "at the disco") || !strings.Contains(log, "handler_test.go") {
		t.Errorf("log has no panic with its stack: %s", log)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("after the header: panic with %v", v)
		}
		if log := book.String(); !strings.Contains(log, "half way") {
			t.Errorf("log has no second panic: %s", log)
		}
	}()
	ask(h, "GET", "/v2/a/blobs/"+sha256, nil)
}

func TestMethods(t *testing.T) {
	s := newShelf(t)
	h := &Handler{Source: s, Lister: s}
	for _, path := range []string{
		"/v2", "/v2/", "/v2/_catalog", "/v2/hello/manifests/latest", "/v2/hello/blobs/" + sha256, "/v2/hello/tags/list",
		"/v2/hello/blobs/uploads/", "/v2/A//../b", "/v2/hello/referrers/" + sha256, "/healthz",
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
			res, body := ask(h, method, path, nil)
			if e := errorsOf(t, res, body); res.StatusCode != 405 || e.Code != "UNSUPPORTED" || res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: got %d %s, Allow %q", method, path, res.StatusCode, body, res.Header.Get("Allow"))
			}
		}
	}
}

// The status of each kind of path, seen through a real server: no redirect, and the version header on every answer.
func TestStatus(t *testing.T) {
	s := newShelf(t)
	srv := httptest.NewServer(&Handler{Source: s, Lister: s, Hosts: []string{"nix.example", "a.b:5"}})
	defer srv.Close()
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	one := s.manifests[1].Digest.String()
	for path, want := range map[string]int{
		"/v2":                                 200,
		"/v2/":                                200,
		"/healthz":                            200,
		"/v2/_catalog":                        200,
		"/v2/hello/tags/list":                 200,
		"/v2/hello/tags/list?n=x":             400,
		"/v2/hello/manifests/latest":          200,
		"/v2/hello/manifests/latest?ns=a.b:5": 200,
		"/v2/hello/manifests/latest?ns=a.b":   404,
		"/v2/hello/manifests/latest?ns=a/b":   400,
		"/v2/hello/tags/list?ns=a.b":          404,
		"/v2/hello/tags/list?ns=nix.example":  200,
		"/v2/hello/blobs/" + s.manifests[1].Digest.String() + "?ns=docker.io": 404,
		"/v2/hello/manifests/" + one:                                          200,
		"/v2/hello/manifests/" + strings.Replace(one, ":", "%3A", 1):          200,
		"/v2/hello/manifests/nope":                                            404,
		"/v2/hello/manifests/..":                                              400,
		"/v2/hello/manifests/sha256:bad":                                      400,
		"/v2/hello/manifests/" + sha512:                                       404,
		"/v2/hello/blobs/" + sha256:                                           404,
		"/v2/hello/blobs/" + sha512:                                           404,
		"/v2/hello/blobs/bad":                                                 400,
		"/v2/hello/referrers/" + sha256:                                       200,
		"/v2/hello/referrers/" + sha512:                                       200,
		"/v2/hello/referrers/bad":                                             400,
		"/v2/x/../hello/manifests/latest":                                     400,
		"/v2/x/%2e%2e/hello/manifests/latest":                                 400,
		"/v2//hello/manifests/latest":                                         400,
		"/v2/x%2f..%2fhello/manifests/latest":                                 400,
		"/v2/./hello/manifests/latest":                                        400,
		"/v2/nope/tags/list":                                                  404,
		"/v2/hello":                                                           404,
		"/":                                                                   404,
		"//v2/hello/manifests/latest":                                         404,
		"/v2/../healthz":                                                      400,
		"/healthz/":                                                           404,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequest(method, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != want {
				t.Errorf("%s %s: got %d, want %d: %s", method, path, res.StatusCode, want, body)
			}
			if v := res.Header.Get("Docker-Distribution-API-Version"); v != "registry/2.0" {
				t.Errorf("%s %s: version %q", method, path, v)
			}
			if want >= 400 && method == "GET" {
				errorsOf(t, res, string(body))
			}
		}
	}
}

// HEAD has the headers of GET, on every route and for errors too, and no body.
func TestHeadIsGet(t *testing.T) {
	s := newShelf(t)
	srv := httptest.NewServer(&Handler{Source: s, Lister: s})
	defer srv.Close()
	paths := []string{
		"/v2/", "/v2", "/healthz", "/v2/_catalog", "/v2/_catalog?n=1", "/v2/hello/tags/list", "/v2/hello/tags/list?n=1",
		"/v2/hello/manifests/latest", "/v2/hello/manifests/nope", "/v2/hello/manifests/" + s.manifests[0].Digest.String(),
		"/v2/hello/referrers/" + sha256 + "?artifactType=a/b", "/v2/hello/blobs/" + sha256, "/v2/A/tags/list", "/nope",
	}
	for d := range s.blobs {
		paths = append(paths, "/v2/hello/blobs/"+d.String())
	}
	for _, path := range paths {
		get, body := fetch(t, srv, "GET", path)
		head, none := fetch(t, srv, "HEAD", path)
		get.Header.Del("Date")
		head.Header.Del("Date")
		if !maps.EqualFunc(get.Header, head.Header, func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }) {
			t.Errorf("%s:\nGET  %v\nHEAD %v", path, get.Header, head.Header)
		}
		if get.StatusCode != head.StatusCode || none != "" {
			t.Errorf("%s: GET %d, HEAD %d with body %q", path, get.StatusCode, head.StatusCode, none)
		}
		if cl := get.Header.Get("Content-Length"); cl != fmt.Sprint(len(body)) {
			t.Errorf("%s: Content-Length %s of %d bytes", path, cl, len(body))
		}
	}
}

func fetch(t *testing.T, srv *httptest.Server, method, path string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestPing(t *testing.T) {
	res, body := ask(&Handler{}, "GET", "/v2/", nil)
	if res.StatusCode != 200 || body != "{}" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	if _, body := ask(&Handler{}, "HEAD", "/v2/", nil); body != "" {
		t.Errorf("HEAD has the body %q", body)
	}
	if _, body := ask(&Handler{}, "GET", "/healthz", nil); body != "ok\n" {
		t.Errorf("healthz says %q", body)
	}
}

func TestAccessLog(t *testing.T) {
	s := newShelf(t)
	var book logbook
	h := &Handler{Source: s, Log: book.logger(slog.LevelDebug)}
	ask(h, "GET", "/v2/hello/manifests/latest?token=hunter2", http.Header{"Authorization": {"Basic hunter2"}})
	log := book.String()
	line := regexp.MustCompile(fmt.Sprintf(`level=DEBUG msg=request method=GET path=/v2/hello/manifests/latest status=200 bytes=%d `, len(s.manifests[0].Data)))
	if !line.MatchString(log) || strings.Count(log, "\n") != 1 || strings.Contains(log, "hunter2") {
		t.Errorf("log: %s", log)
	}
	book.buf.Reset()
	ask(h, "GET", "/v2/a%0Ab/"+strings.Repeat("x", 5000), nil)
	if log := book.String(); strings.Count(log, "\n") != 2 || len(log) > 2000 {
		t.Errorf("log of a long path: %s", log)
	}
}
