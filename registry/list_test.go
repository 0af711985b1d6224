package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func listing(tags, names []string) *Handler {
	return &Handler{Source: fake{}, Lister: fake{
		tags:  func(context.Context, string) ([]string, error) { return tags, nil },
		names: func(context.Context) ([]string, error) { return names, nil },
	}}
}

func TestTags(t *testing.T) {
	h := listing([]string{"1", "2", "3_a", "a", "b"}, nil)
	const link = `</v2/x/y/tags/list?last=%s&n=%d>; rel="next"`
	for _, c := range []struct{ query, want, link string }{
		{"", `"1","2","3_a","a","b"`, ""},
		{"?n=2", `"1","2"`, fmt.Sprintf(link, "2", 2)},
		{"?n=2&last=2", `"3_a","a"`, fmt.Sprintf(link, "a", 2)},
		{"?n=2&last=a", `"b"`, ""},
		{"?n=5", `"1","2","3_a","a","b"`, ""},
		{"?n=1&last=20", `"3_a"`, fmt.Sprintf(link, "3_a", 1)},
		{"?last=3", `"3_a","a","b"`, ""},
		{"?last=b", ``, ""},
		{"?last=zzz", ``, ""},
		{"?n=0", ``, ""},
		{"?n=0&last=1", ``, ""},
		{"?n=99999999999999999999999", `"1","2","3_a","a","b"`, ""},
	} {
		res, body := ask(h, "GET", "/v2/x/y/tags/list"+c.query, nil)
		if want := `{"name":"x/y","tags":[` + c.want + "]}\n"; res.StatusCode != 200 || body != want {
			t.Errorf("%s: got %d %s, want %s", c.query, res.StatusCode, body, want)
		}
		if got := res.Header.Get("Link"); got != c.link {
			t.Errorf("%s: Link %q, want %q", c.query, got, c.link)
		}
	}
	for _, n := range []string{"", "-1", "+1", "x", "1x", "1.0", "%20"} {
		res, body := ask(h, "GET", "/v2/x/tags/list?n="+n, nil)
		if e := errorsOf(t, res, body); res.StatusCode != 400 || e.Code != "PAGINATION_NUMBER_INVALID" {
			t.Errorf("n=%s: got %d %s", n, res.StatusCode, body)
		}
	}
}

func TestEmptyLists(t *testing.T) {
	h := listing(nil, nil)
	if _, body := ask(h, "GET", "/v2/x/tags/list", nil); body != `{"name":"x","tags":[]}`+"\n" {
		t.Errorf("tags: %s", body)
	}
	if _, body := ask(h, "GET", "/v2/_catalog", nil); body != `{"repositories":[]}`+"\n" {
		t.Errorf("catalog: %s", body)
	}
}

// Following the links gives the whole list, page by page.
func TestCatalogPages(t *testing.T) {
	var all []string
	for i := range 2*maxCatalogPage + 500 {
		all = append(all, fmt.Sprintf("a/%05d", i))
	}
	h := listing(nil, all)
	for _, start := range []string{"/v2/_catalog", "/v2/_catalog?n=700", "/v2/_catalog?n=5000"} {
		var got []string
		for next, pages := start, 0; next != ""; pages++ {
			if pages > 10 {
				t.Fatalf("%s: too many pages", start)
			}
			res, body := ask(h, "GET", next, nil)
			var doc struct{ Repositories []string }
			if err := json.Unmarshal([]byte(body), &doc); err != nil || len(doc.Repositories) > maxCatalogPage {
				t.Fatalf("%s: %d entries, %v", next, len(doc.Repositories), err)
			}
			got = append(got, doc.Repositories...)
			link := res.Header.Get("Link")
			next, _ = strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
			if u, err := url.Parse(next); err != nil || strings.Contains(u.RawQuery, "/") {
				t.Fatalf("link %q is not escaped: %v", link, err)
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("%s: got %d entries, want %d", start, len(got), len(all))
		}
	}
}

func TestNoLister(t *testing.T) {
	h := &Handler{Source: fake{}}
	for _, path := range []string{"/v2/_catalog", "/v2/a/tags/list"} {
		res, body := ask(h, "GET", path, nil)
		if e := errorsOf(t, res, body); res.StatusCode != 404 || e.Code != "UNSUPPORTED" {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
	}
}

func TestReferrers(t *testing.T) {
	h := &Handler{Source: fake{}}
	res, body := ask(h, "GET", "/v2/a/referrers/"+sha256, nil)
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}` + "\n"
	if res.StatusCode != 200 || body != want || res.Header.Get("Content-Type") != "application/vnd.oci.image.index.v1+json" {
		t.Errorf("got %d %s of type %s", res.StatusCode, body, res.Header.Get("Content-Type"))
	}
	if got, ok := res.Header["Oci-Filters-Applied"]; ok {
		t.Errorf("filters applied: %q", got)
	}
	res, _ = ask(h, "GET", "/v2/a/referrers/"+sha256+"?artifactType=application/x", nil)
	if got := res.Header.Get("OCI-Filters-Applied"); got != "artifactType" {
		t.Errorf("filters applied: %q", got)
	}
}
