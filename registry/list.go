package registry

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// The most entries of one answer; its Link leads to the next ones. A tag has at most 128 bytes, a repository 255.
const (
	maxTagPage     = 10000
	maxCatalogPage = 1000
)

// serveTags answers the tags of a repository.
func (b backend) serveTags(w *response, r *http.Request, rt route) error {
	if b.lister == nil {
		return problem(errEndpoint, "no such endpoint")
	}
	p, err := parsePage(r.URL.Query(), maxTagPage)
	if err != nil {
		return err
	}
	all, err := b.lister.Tags(r.Context(), rt.inner)
	if err != nil {
		return err
	}
	sendList(w, p.of(w.Header(), "/v2/"+rt.repository+"/tags/list", all), func(list []string) any {
		return struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{rt.repository, list}
	})
	return nil
}

// serveCatalog answers the names of the repositories.
func (b backend) serveCatalog(w *response, r *http.Request) error {
	if b.lister == nil {
		return problem(errEndpoint, "no such endpoint")
	}
	p, err := parsePage(r.URL.Query(), maxCatalogPage)
	if err != nil {
		return err
	}
	all, err := b.lister.Repositories(r.Context())
	if err != nil {
		return err
	}
	sendList(w, p.of(w.Header(), "/v2/_catalog", all), func(list []string) any {
		return struct {
			Repositories []string `json:"repositories"`
		}{list}
	})
	return nil
}

func sendList(w *response, list []string, document func([]string) any) {
	if list == nil {
		list = []string{} // clients expect [], not null
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.document(http.StatusOK, "application/json", encode(document(list)))
}

// page is the part of a sorted list that a client asks for: at most n entries after last.
type page struct {
	n    int
	last string
}

// parsePage parses n and last. most is the default of n, and its bound.
func parsePage(q url.Values, most int) (page, error) {
	p := page{most, q.Get("last")}
	if !q.Has("n") {
		return p, nil
	}
	n := q.Get("n")
	if n == "" || !isDigits(n) {
		return p, problem(errPage, "n=%q is not a number of results", truncate(n, 32))
	}
	p.n = int(min(parseDigits(n), int64(most)))
	return p, nil
}

// of returns the page of all, and sets the Link to the next page, at path, if there is one.
func (p page) of(h http.Header, path string, all []string) []string {
	start := 0
	if p.last != "" {
		i, found := slices.BinarySearch(all, p.last)
		if start = i; found {
			start++
		}
	}
	rest := all[start:]
	if len(rest) <= p.n || p.n == 0 {
		return rest[:min(p.n, len(rest))]
	}
	q := url.Values{"n": {strconv.Itoa(p.n)}, "last": {rest[p.n-1]}}
	h.Set("Link", "<"+path+"?"+q.Encode()+`>; rel="next"`)
	return rest[:p.n]
}
