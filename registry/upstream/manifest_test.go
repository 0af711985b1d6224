package upstream

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
	"github.com/nixreg/nixreg/internal/oci"
)

func hashOf(data string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256([]byte(data)))}
}

const document1 = `{"schemaVersion":2}`

// documents serves one manifest under all names, with headers of its own.
func documents(data string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		fmt.Fprint(w, data)
	}
}

func TestManifest(t *testing.T) {
	good := hashOf(document1).String()
	for _, tc := range []struct {
		name   string
		ref    string
		header []string
		want   error
	}{
		{"tag", "latest", nil, nil},
		{"digest", good, nil, nil},
		{"header", "latest", []string{"Docker-Content-Digest", good}, nil},
		{"unknown algorithm", "latest", []string{"Docker-Content-Digest", "md5:00"}, nil},
		{"other digest", hashOf("x").String(), nil, ErrDigest},
		{"header lies", "latest", []string{"Docker-Content-Digest", hashOf("x").String()}, ErrDigest},
		{"header is short", "latest", []string{"Docker-Content-Digest", "sha256:00"}, ErrDigest},
		{"header lies of a digest", good, []string{"Docker-Content-Digest", hashOf("x").String()}, ErrDigest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				h := n.Serve("r.lab.test:443", "9.9.9.9", documents(document1, tc.header...))
				d, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a/b", tc.ref)
				if !errors.Is(err, tc.want) {
					t.Fatalf("%v; want %v", err, tc.want)
				}
				req := h.Requests()[0]
				if a := req.Header.Values("Accept"); !slices.Equal(a, []string{
					"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
					"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
				}) || req.Header.Get("Accept-Encoding") != "identity" || req.ProtoMajor != 2 {
					t.Errorf("asked for %q, %q, %s", a, req.Header.Get("Accept-Encoding"), req.Proto)
				}
				if tc.want != nil {
					var e *Error
					if !errors.As(err, &e) || e.Registry != "r.lab.test" || e.Status != 200 || !strings.Contains(err.Error(), "a/b") {
						t.Errorf("%#v", err)
					}
					return
				}
				if string(d.Data) != document1 || d.Size != int64(len(document1)) || d.Digest != hashOf(document1) || d.MediaType != types.OCIManifestSchema1 {
					t.Errorf("%+v", d)
				}
			})
		})
	}
}

// What is compressed on its way, unasked, is not what was stored.
func TestEncodedManifest(t *testing.T) {
	for encoding, ok := range map[string]bool{"": true, "identity": true, "gzip": false, "GZIP": false, "br": false, "zstd": false} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.Serve("r.lab.test:443", "9.9.9.9", documents(document1, "Content-Encoding", encoding))
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			var e *Error
			if (err == nil) != ok || !ok && (!errors.As(err, &e) || e.Status != 200 || !strings.Contains(err.Error(), "Content-Encoding "+strings.ToLower(encoding))) {
				t.Errorf("%q: %v", encoding, err)
			}
		})
	}
}

func TestLargeManifest(t *testing.T) {
	for size, ok := range map[int]bool{oci.MaxManifest: true, oci.MaxManifest + 1: false, 5 << 20: false} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.Serve("r.lab.test:80", "9.9.9.9", documents(strings.Repeat("x", size)))
			_, err := n.open(Options{Name: "lab", URL: "http://r.lab.test"}).Manifest(t.Context(), "a", "b")
			if (err == nil) != ok || !ok && !strings.Contains(err.Error(), "4194304") {
				t.Errorf("%d bytes: %v", size, err)
			}
		})
	}
}

func TestHead(t *testing.T) {
	digest := hashOf(document1)
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v2/a/manifests/full":
				documents(document1, "Docker-Content-Digest", digest.String())(w, r)
			case "/v2/a/manifests/silent":
				w.Header().Set("Content-Type", "")
				w.(http.Flusher).Flush()
			default:
				documents(document1, "Docker-Content-Digest", hashOf("other").String())(w, r)
			}
		})
		r := n.open(Options{Name: "r.lab.test"})
		d, err := r.Head(t.Context(), "a", "full")
		if err != nil || d.Digest != digest || d.Size != int64(len(document1)) || d.MediaType != types.OCIManifestSchema1 || d.Data != nil {
			t.Errorf("%+v, %v", d, err)
		}
		d, err = r.Head(t.Context(), "a", "silent")
		if err != nil || d.Digest != (v1.Hash{}) || d.Size != -1 || d.MediaType != "" {
			t.Errorf("%+v, %v", d, err)
		}
		if _, err := r.Head(t.Context(), "a", digest.String()); !errors.Is(err, ErrDigest) {
			t.Error(err)
		}
	})
}

func TestInvalidNames(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		r := n.open(Options{Name: "r.lab.test"})
		for _, c := range [][2]string{{"", "x"}, {"../x", "x"}, {"a//b", "x"}, {"A", "x"}, {"a?b", "x"}, {strings.Repeat("a", 256), "x"},
			{"a", ""}, {"a", ".."}, {"a", "x/y"}, {"a", "sha256:00"}, {"a", "x?y"}} {
			if _, err := r.Manifest(t.Context(), c[0], c[1]); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", c, err)
			}
		}
		if len(n.Dialed()) > 0 {
			t.Error("asked", n.Dialed())
		}
	})
}

// What a registry answers becomes an error that says so.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    Error
		is      error
		text    string
		tries   int
	}{
		{"404", status(404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no\n\u001bsuch"},{"code":"X"}]}`), Error{Status: 404}, fs.ErrNotExist,
			"r.lab.test: a/b:c: 404 Not Found: MANIFEST_UNKNOWN: no such", 1},
		{"401", status(401, `{"details":"wrong password"}`), Error{Status: 401}, fs.ErrPermission, "401 Unauthorized: wrong password", 1},
		{"403", status(403, `<html>`), Error{Status: 403}, fs.ErrPermission, "a/b:c: 403 Forbidden", 1},
		{"429", status(429, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, "Retry-After", "7"), Error{Status: 429, RetryAfter: 7 * time.Second}, nil, "TOOMANYREQUESTS", 1},
		{"429 with a date", status(429, ``, "Retry-After", "Sat, 01 Jan 2000 00:01:00 GMT"), Error{Status: 429, RetryAfter: time.Minute}, nil, "", 1},
		{"429 with nothing", status(429, ``), Error{Status: 429}, nil, "", 1},
		{"500", status(500, strings.Repeat("x", 1<<20)), Error{Status: 500}, nil, "500", 3},
		{"501", status(501, ``), Error{Status: 501}, nil, "501", 1},
		{"408", status(408, ``), Error{Status: 408}, nil, "408", 3},
		{"522", status(522, ``), Error{Status: 522}, nil, "522", 3},
		{"503", status(503, ``), Error{Status: 503}, nil, "503", 3},
		{"503 for long", status(503, ``, "Retry-After", "5000"), Error{Status: 503, RetryAfter: time.Hour}, nil, "503", 1},
		{"204", status(204, ``), Error{Status: 204}, nil, "204", 1},
		{"206", status(206, ``), Error{Status: 206}, nil, "206", 1},
		{"redirect to nowhere", status(302, ``), Error{Status: 302}, nil, "302 Found", 1},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Error{}, nil, "a/b:c", 3},
		{"large header", status(200, "", "X", strings.Repeat("x", 70000)), Error{}, nil, "", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				h := n.Serve("r.lab.test:443", "9.9.9.9", tc.handler)
				_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a/b", "c")
				var e *Error
				if !errors.As(err, &e) || e.Status != tc.want.Status || e.RetryAfter != tc.want.RetryAfter {
					t.Fatalf("%#v", err)
				}
				if tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.text) || len(err.Error()) > 1000 {
					t.Errorf("%v; want %v, %q", err, tc.is, tc.text)
				}
				if got := len(h.Requests()); got != tc.tries {
					t.Errorf("%d tries; want %d", got, tc.tries)
				}
			})
		})
	}
}

// status answers with a status, a body and headers.
func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func TestPatience(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		tries := 0
		n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			if tries++; tries < 4 {
				status(429, "", "Retry-After", "3600")(w, r)
				return
			}
			documents(document1)(w, r)
		})
		r := n.open(Options{Name: "r.lab.test", Patient: true})
		start := time.Now()
		if _, err := r.Manifest(t.Context(), "a", "b"); err != nil || time.Since(start) != 3*time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		tries = -10
		if _, err := r.Manifest(t.Context(), "a", "b"); err == nil || tries != -5 {
			t.Errorf("%v after %d tries", err, tries+10)
		}
	})
}

func TestNobodyThere(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
		var e *Error
		if !errors.As(err, &e) || e.Status != 0 || !strings.Contains(err.Error(), "connection refused") || len(n.Dialed()) != 3 {
			t.Errorf("%v after %d tries", err, len(n.Dialed()))
		}
	})
}

// The system's refusal is not the registry's.
func TestNotAllowedToConnect(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Fault = syscall.EACCES
		_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
		if err == nil || errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
	})
}

// A document that is cut is asked for again as a whole.
func TestCutManifest(t *testing.T) {
	for cuts, ok := range map[int]bool{2: true, 3: false} {
		inNetwork(t, func(t *testing.T, n *network) {
			c := &memnet.Cutter{Data: document1, Cuts: []int{5, 5, 5}[:cuts]}
			n.Serve("r.lab.test:443", "9.9.9.9", c.ServeHTTP)
			d, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			if (err == nil) != ok || ok && string(d.Data) != document1 || len(c.Asked) != 3 || strings.Join(c.Asked, "") != "" {
				t.Errorf("%d cuts: %v, asked %q", cuts, err, c.Asked)
			}
		})
	}
}

// A server that takes the connection and is silent is given up after a while, and not asked again.
func TestSilence(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		h := n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() || len(h.Requests()) != 1 || time.Since(start) > makeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A registry that makes a manifest when it is asked for takes longer than one that only looks for it. A question whether a
// tag has moved is not worth such a wait.
func TestManifestThatIsMade(t *testing.T) {
	for method, patience := range map[string]time.Duration{http.MethodGet: makeTimeout, http.MethodHead: headerTimeout} {
		for _, takes := range []time.Duration{patience - time.Second, patience + time.Second} {
			inNetwork(t, func(t *testing.T, n *network) {
				n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(takes):
						documents(document1)(w, r)
					case <-r.Context().Done():
					}
				})
				r, begun := n.open(Options{Name: "r.lab.test"}), time.Now()
				ask := r.Manifest
				if method == http.MethodHead {
					ask = r.Head
				}
				_, err := ask(t.Context(), "a", "latest")
				if (err == nil) != (takes < patience) || time.Since(begun) > patience {
					t.Errorf("%s that takes %v: %v after %v", method, takes, err, time.Since(begun))
				}
			})
		}
	}
}
