package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"nixreg/internal/cases"
)

// linked serves pages of tags; link makes the Link header that is sent with page i.
func linked(link func(i int) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i := 0
		fmt.Sscan(r.URL.Query().Get("last"), &i)
		if l := link(i); l != "" {
			w.Header().Set("Link", l)
		}
		fmt.Fprintf(w, `{"name":"a","tags":["t%d"]}`, i)
	}
}

func TestTags(t *testing.T) {
	for _, tc := range []struct {
		name, format string // of the Link header, with the number of the next page
		ok           bool
	}{
		{"relative", `</v2/a/tags/list?last=%d&n=1>; rel="next"`, true},
		{"absolute", `<https://r.lab.test/v2/a/tags/list?last=%d>; rel=next`, true},
		{"not knowing its scheme", `<http://r.lab.test/v2/a/tags/list?last=%d>; rel="next"`, true},
		{"with the port", `<https://R.lab.test:443/v2/a/tags/list?last=%d>; rel=next`, true},
		{"with the port of its scheme", `<http://r.lab.test:80/v2/a/tags/list?last=%d>; rel=next`, true},
		{"query alone", `<?last=%d>; title="a, <b>; rel=x"; rel="prev next"`, true},
		{"the second link", `<?last=77>; rel="prev", <?last=%d>;rel="next"`, true},
		{"elsewhere", `<https://x.cdn.test/v2/a/tags/list?last=%d>; rel="next"`, false},
		{"another port", `<https://r.lab.test:444/v2/a/tags/list?last=%d>; rel="next"`, false},
		{"outside", `</v2/../admin?last=%d>; rel="next"`, false},
		{"no URL", `<:%%zz%d>; rel="next"`, false},
		{"the same again", `</v2/a/tags/list?n=1000>; rel="next"`, false},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.serve("r.lab.test:443", "9.9.9.9", linked(func(i int) string {
				if i == 3 {
					return ""
				}
				if !strings.Contains(tc.format, "%d") {
					return tc.format
				}
				return fmt.Sprintf(tc.format, i+1)
			}))
			tags, err := n.open(Options{Name: "r.lab.test"}).Tags(t.Context(), "a")
			if (err == nil) != tc.ok || tc.ok && !slices.Equal(tags, []string{"t0", "t1", "t2", "t3"}) {
				t.Errorf("%s: %q, %v", tc.name, tags, err)
			}
			var e *Error
			if !tc.ok && (!errors.As(err, &e) || e.Status != 200 || !strings.Contains(err.Error(), "next page") || len(n.dialed) != 1) {
				t.Errorf("%s: %v, connected to %q", tc.name, err, n.dialed)
			}
		})
	}
}

func TestTagsAreBounded(t *testing.T) {
	many, err := json.Marshal(map[string]any{"tags": make([]string, maxItems+1)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		text    string
	}{
		{"pages", linked(func(i int) string { return fmt.Sprintf(`<?last=%d>; rel=next`, i+1) }), "1000 pages"},
		{"tags", status(200, string(many)), "100000 items"},
		{"bytes", status(200, strings.Repeat(" ", maxListed+1)), "bytes"},
		{"no JSON", status(200, "<html>"), "invalid character"},
		{"unknown", status(404, ""), "404"},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.serve("r.lab.test:80", "9.9.9.9", tc.handler)
			_, err := n.open(Options{Name: "lab", URL: "http://r.lab.test"}).Tags(t.Context(), "a")
			if err == nil || !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), "tags of a") {
				t.Errorf("%s: %v", tc.name, err)
			}
			if tc.name == "unknown" && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

func TestReferrers(t *testing.T) {
	subject := hashOf("subject")
	list := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/x","digest":%q,"size":3,"artifactType":"text/x","annotations":{"a":"b"}}]}`, hashOf("x"))
	index := status(200, list, "Content-Type", "application/vnd.oci.image.index.v1+json")
	const api, tag = "/v2/a/referrers/", "/v2/a/manifests/sha256-"
	for _, tc := range []struct {
		name  string
		serve map[string]http.HandlerFunc
		n     int
		ok    bool
	}{
		{"list", map[string]http.HandlerFunc{api: index}, 1, true},
		{"empty list", map[string]http.HandlerFunc{api: status(200, `{"manifests":[]}`, "Content-Type", string(types.OCIImageIndex)), tag: index}, 0, true},
		{"tag", map[string]http.HandlerFunc{tag: index}, 1, true},
		{"page of a web site", map[string]http.HandlerFunc{api: status(200, "<html>", "Content-Type", "text/html"), tag: index}, 1, true},
		{"no such method", map[string]http.HandlerFunc{api: status(405, ""), tag: index}, 1, true},
		{"none", nil, 0, true},
		{"not allowed", map[string]http.HandlerFunc{api: status(403, ""), tag: index}, 0, false},
		{"no index under the tag", map[string]http.HandlerFunc{tag: documents(document1)}, 0, false},
		{"nonsense", map[string]http.HandlerFunc{api: status(200, `{"manifests":[{"digest":"x"}]}`, "Content-Type", string(types.OCIImageIndex))}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				n.serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					for prefix, h := range tc.serve {
						if rest, ok := strings.CutPrefix(r.URL.Path, prefix); ok && strings.HasSuffix(subject.String(), rest) {
							h(w, r)
							return
						}
					}
					w.WriteHeader(404)
				})
				got, err := n.open(Options{Name: "r.lab.test"}).Referrers(t.Context(), "a", subject)
				if (err == nil) != tc.ok || len(got) != tc.n {
					t.Fatalf("%v, %v", got, err)
				}
				if tc.n == 1 && (got[0].Digest != hashOf("x") || got[0].ArtifactType != "text/x" || got[0].Annotations["a"] != "b") {
					t.Errorf("%+v", got[0])
				}
			})
		})
	}
	inNetwork(t, func(t *testing.T, n *network) {
		if _, err := n.open(Options{Name: "r.lab.test"}).Referrers(t.Context(), "a", v1.Hash{}); !errors.Is(err, fs.ErrInvalid) {
			t.Error(err)
		}
	})
}

// TestCaseR7FallbackTagOfAnImage: what is no index under the tag that stands for a list is no list.
func TestCaseR7FallbackTagOfAnImage(t *testing.T) {
	cases.Open(t, "R7")
	subject := hashOf(document1)
	for name, handler := range map[string]http.HandlerFunc{
		"nothing":           status(404, ""), // as today
		"the manifest":      documents(document1),
		"a Docker manifest": documents(document1, "Content-Type", string(types.DockerManifestSchema2)),
		"a Docker list":     status(200, `{"schemaVersion":2,"manifests":[]}`, "Content-Type", string(types.DockerManifestList)),
	} {
		t.Run(name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				n.serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/v2/a/manifests/sha256-") {
						handler(w, r)
						return
					}
					w.WriteHeader(404)
				})
				if got, err := n.open(Options{Name: "r.lab.test"}).Referrers(t.Context(), "a", subject); err != nil || len(got) != 0 {
					t.Errorf("%v, %v", got, err)
				}
			})
		})
	}
}

// TestCaseR9LinkElsewhere: where the next page has another path, or a host of the inside, it is asked for where the first
// one was: what counts is behind which tag it goes on.
func TestCaseR9LinkElsewhere(t *testing.T) {
	cases.Open(t, "R9")
	for name, format := range map[string]string{
		"right":            `</v2/a/tags/list?n=2&last=%d>; rel="next"`, // as today
		"another path":     `<https://r.lab.test/repository/docker-proxy/v2/a/tags/list?n=2&last=%d>; rel="next"`,
		"without v2":       `</a/tags/list?n=2&last=%d>; rel="next"`,
		"another name":     `</v2/docker-proxy/a/tags/list?n=2&last=%d>; rel="next"`,
		"an internal host": `<http://registry.internal:8080/v2/a/tags/list?n=2&last=%d>; rel="next"`,
	} {
		t.Run(name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				pages := linked(func(i int) string {
					if i == 3 {
						return ""
					}
					return fmt.Sprintf(format, i+1)
				})
				n.serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v2/a/tags/list" {
						w.WriteHeader(404)
						return
					}
					pages(w, r)
				})
				tags, err := n.open(Options{Name: "r.lab.test"}).Tags(t.Context(), "a")
				if err != nil || !slices.Equal(tags, []string{"t0", "t1", "t2", "t3"}) {
					t.Errorf("%q, %v", tags, err)
				}
				if len(n.dialed) != 1 {
					t.Errorf("connected to %q", n.dialed)
				}
			})
		})
	}
}
