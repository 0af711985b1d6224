package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// slow is the error of work that tells how far it is.
type slow struct{ error }

func (slow) Progress() string { return "3 of 97 layers" }
func (s slow) Unwrap() error  { return s.error }

func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return slow{ctx.Err()}
}

// never is a source that answers nothing.
var never = fake{
	manifest: func(ctx context.Context, _ Request) (*v1.Descriptor, error) { return nil, untilEnd(ctx) },
	blob: func(ctx context.Context, r BlobRequest) (Blob, error) {
		if r.Head {
			return nil, untilEnd(ctx)
		}
		return writerBlob{10, func(ctx context.Context, _ io.Writer, _, _ int64) error { return untilEnd(ctx) }}, nil
	},
}

func TestSlowAnswersRedirect(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, path := range []string{"manifests/latest", "manifests/" + digest, "blobs/" + digest} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				res, body := ask(&Handler{Source: never, Hosts: []string{"docker.io"}}, method, "/v2/a/b/"+path+"?x=%2F+1&ns=docker.io&&b", nil)
				hdr := res.Header
				if res.StatusCode != http.StatusTemporaryRedirect || hdr.Get("Location") != "?x=%2F+1&ns=docker.io&b&nixreg_hop=1" {
					t.Errorf("%s %s: %d to %q", method, path, res.StatusCode, hdr.Get("Location"))
				}
				if hdr.Get("Cache-Control") != "no-store" || hdr.Get("Etag") != "" || hdr.Get("Docker-Content-Digest") != "" {
					t.Errorf("%s %s: header %v", method, path, hdr)
				}
				if method == http.MethodGet && !strings.Contains(body, "is not ready yet: 3 of 97 layers\n") || method == http.MethodHead && body != "" {
					t.Errorf("%s %s: body %q", method, path, body)
				}
				if d := time.Since(begun); d != defaultWait {
					t.Errorf("%s %s: after %v", method, path, d)
				}
			})
		}
	}
}

// slowReferrers are none that come in time.
type slowReferrers struct{}

func (slowReferrers) Referrers(ctx context.Context, _ string, _ v1.Hash) ([]v1.Descriptor, error) {
	return nil, untilEnd(ctx)
}

// A bill of materials may have to be looked for, in images that are made anew for that.
func TestSlowReferrersRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := "/v2/a/b/referrers/sha256:" + strings.Repeat("a", 64)
		res, _ := ask(&Handler{Source: never, Referrers: slowReferrers{}}, http.MethodGet, path+"?artifactType=a%2Fb", nil)
		if res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != "?artifactType=a%2Fb&nixreg_hop=1" || res.Header.Get("Oci-Filters-Applied") != "" {
			t.Errorf("%d to %q, %v", res.StatusCode, res.Header.Get("Location"), res.Header)
		}
		res, body := ask(&Handler{Source: never, Referrers: slowReferrers{}}, http.MethodGet, path+"?nixreg_hop=8", nil)
		if e := errorsOf(t, res, body); res.StatusCode != http.StatusServiceUnavailable || e.Code != "UNAVAILABLE" {
			t.Errorf("%d, %+v", res.StatusCode, e)
		}
	})
}

func TestHopsAreCounted(t *testing.T) {
	for query, want := range map[string]string{
		"nixreg_hop=1":               "?nixreg_hop=2",
		"nixreg_hop=7&ns=x.io":       "?ns=x.io&nixreg_hop=8",
		"ns=x.io&nixreg%5fhop=3":     "?ns=x.io&nixreg_hop=4",
		"nixreg_hop=":                "?nixreg_hop=1",
		"nixreg_hop=9":               "?nixreg_hop=1",
		"nixreg_hop=-1":              "?nixreg_hop=1",
		"nixreg_hop=08":              "?nixreg_hop=1",
		"nixreg_hop=x&nixreg_hop=8":  "?nixreg_hop=1",
		"nixreg_hop=2&nixreg_hop=5":  "?nixreg_hop=3",
		"%zz=1&nixreg_hop=1":         "?%zz=1&nixreg_hop=2",
		"a=#b&nixreg_hop=1":          "?a=%23b&nixreg_hop=2",
		"nixreg_hop=8":               "",
		"nixreg_hop=8&ns=x.io&ns=no": "",
	} {
		synctest.Test(t, func(t *testing.T) {
			res, body := ask(&Handler{Source: never, Hosts: []string{"x.io"}}, http.MethodGet, "/v2/a/manifests/1?"+query, nil)
			if want != "" {
				if res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != want {
					t.Errorf("%s: %d to %q, want %q", query, res.StatusCode, res.Header.Get("Location"), want)
				}
				return
			}
			e := errorsOf(t, res, body)
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "10" || e.Code != "UNAVAILABLE" {
				t.Errorf("%s: %d, %v", query, res.StatusCode, res.Header)
			}
			if e.Message != "a:1 is not ready yet: 3 of 97 layers; the work goes on, try again" {
				t.Errorf("%s: %q", query, e.Message)
			}
		})
	}
}

// What is known is answered at once, on each hop: no client is led round for it.
func TestKnownErrorsAreNoHops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{Source: fake{manifest: func(context.Context, Request) (*v1.Descriptor, error) {
			return nil, fmt.Errorf("build failed: %w", fs.ErrNotExist)
		}}}
		if res, _ := ask(h, http.MethodGet, "/v2/a/manifests/1?nixreg_hop=3", nil); res.StatusCode != http.StatusNotFound {
			t.Errorf("got %d", res.StatusCode)
		}
	})
}

// The end of the time counts as soon as it was seen, even if the timer's own call is late.
func TestTooLateIsPassed(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := new(Handler).newWait(r)
	defer w.close()
	w.timer.Stop() // as if its call were on its way
	if w.over() || !w.passed(r) {
		t.Error("too late, and not passed")
	}
}

// A client that left is no client that comes again.
func TestLeavingIsNoHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		causes := make(chan error, 1)
		h := &Handler{Source: fake{manifest: func(ctx context.Context, _ Request) (*v1.Descriptor, error) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil, ctx.Err()
		}}}
		go func() {
			time.Sleep(time.Second)
			leave()
		}()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/a/manifests/1", nil).WithContext(ctx))
		if err := <-causes; errors.Is(err, context.DeadlineExceeded) || w.Code == http.StatusTemporaryRedirect {
			t.Errorf("%d, %v", w.Code, err)
		}
		synctest.Wait()
	})
}

// Once an answer has begun it may take as long as it likes.
func TestBodyIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{Source: blobSource(writerBlob{10, func(ctx context.Context, w io.Writer, _, n int64) error {
			for range n {
				time.Sleep(defaultWait - time.Second)
				if _, err := w.Write([]byte("x")); err != nil {
					return err
				}
			}
			return ctx.Err()
		}})}
		res, body := ask(h, http.MethodGet, "/v2/a/blobs/sha256:"+strings.Repeat("a", 64), nil)
		if res.StatusCode != http.StatusOK || body != strings.Repeat("x", 10) {
			t.Errorf("%d, %q", res.StatusCode, body)
		}
	})
}

// Bytes that come after the time has passed are not sent: the client that is asked to come again gets them then.
func TestBodyThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{Source: blobSource(writerBlob{1, func(_ context.Context, w io.Writer, _, _ int64) error {
			time.Sleep(time.Minute)
			_, err := w.Write([]byte("x"))
			return err
		}})}
		res, body := ask(h, http.MethodGet, "/v2/a/blobs/sha256:"+strings.Repeat("a", 64), http.Header{"Range": {"bytes=0-0"}})
		if res.StatusCode != http.StatusTemporaryRedirect || strings.HasPrefix(body, "x") || res.Header.Get("Content-Range") != "" {
			t.Errorf("%d, %q, %v", res.StatusCode, body, res.Header)
		}
	})
}

// A Go client follows eight hops, and a redirect of a proxy before them. Below a prefix that a proxy strips, it stays there.
func TestGoClientFollowsAllHops(t *testing.T) {
	shelf, asked := newShelf(t), 0
	h := &Handler{Wait: time.Millisecond, Source: fake{manifest: func(ctx context.Context, r Request) (*v1.Descriptor, error) {
		if asked++; asked <= maxHops {
			return nil, untilEnd(ctx)
		}
		return shelf.Manifest(ctx, r)
	}}}
	proxy := http.NewServeMux()
	proxy.Handle("/nix/", http.StripPrefix("/nix", h))
	proxy.Handle("/", http.RedirectHandler("/nix/v2/hello/manifests/latest?a=b", http.StatusFound))
	s := httptest.NewServer(proxy)
	defer s.Close()
	res, err := http.Get(s.URL + "/moved")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || asked != maxHops+1 || res.Request.URL.Path != "/nix/v2/hello/manifests/latest" || res.Request.URL.RawQuery != "a=b&nixreg_hop=8" {
		t.Errorf("%d from %s after %d requests", res.StatusCode, res.Request.URL, asked)
	}
}
