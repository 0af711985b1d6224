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

	"github.com/nixreg/nixreg/internal/cases"
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
			n.Serve("r.lab.test:443", "9.9.9.9", linked(func(i int) string {
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
			if !tc.ok && (!errors.As(err, &e) || e.Status != 200 || !strings.Contains(err.Error(), "next page") || len(n.Dialed()) != 1) {
				t.Errorf("%s: %v, connected to %q", tc.name, err, n.Dialed())
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
			n.Serve("r.lab.test:80", "9.9.9.9", tc.handler)
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
	index := string(types.OCIImageIndex)
	for _, tc := range []struct {
		name  string
		serve http.HandlerFunc
		n     int
		kind  error // errors.ErrUnsupported: there are no lists
	}{
		{"list", status(200, list, "Content-Type", index), 1, nil},
		{"empty list", status(200, `{"manifests":[]}`, "Content-Type", index), 0, nil},
		{"page of a web site", status(200, "<html>", "Content-Type", "text/html"), 0, errors.ErrUnsupported},
		{"no such method", status(405, ""), 0, errors.ErrUnsupported},
		{"none", status(404, ""), 0, errors.ErrUnsupported},
		{"not allowed", status(403, ""), 0, fs.ErrPermission},
		{"nonsense", status(200, `{"manifests":[{"digest":"x"}]}`, "Content-Type", index), 0, new(Error)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v2/a/referrers/"+subject.String() {
						t.Errorf("asked for %s", r.URL.Path)
					}
					tc.serve(w, r)
				})
				got, err := n.open(Options{Name: "r.lab.test"}).Referrers(t.Context(), "a", subject)
				if e := (*Error)(nil); len(got) != tc.n || (err == nil) != (tc.kind == nil) || err != nil && !errors.As(err, &e) {
					t.Fatalf("%v, %v", got, err)
				}
				for _, kind := range []error{errors.ErrUnsupported, fs.ErrPermission} {
					if errors.Is(err, kind) != (tc.kind == kind) {
						t.Errorf("%v, want %v", err, tc.kind)
					}
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
				n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
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
				if len(n.Dialed()) != 1 {
					t.Errorf("connected to %q", n.Dialed())
				}
			})
		})
	}
}

// Source: OCI distribution specification 1.1, "Referrers Tag Schema".
func TestReferrersTag(t *testing.T) {
	for d, want := range map[v1.Hash]string{
		{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}:                "sha256-" + strings.Repeat("a", 64),
		{Algorithm: "sha512", Hex: strings.Repeat("b", 128)}:               "sha512-" + strings.Repeat("b", 64),
		{Algorithm: strings.Repeat("c", 40), Hex: strings.Repeat("d", 10)}: strings.Repeat("c", 32) + "-" + strings.Repeat("d", 10),
	} {
		if got := ReferrersTag(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}
