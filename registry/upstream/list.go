package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/fetch"
)

// Bounds of a list, over all its pages.
const (
	pageSize  = "1000"
	maxPages  = 1000
	maxItems  = 100_000
	maxListed = 16 << 20 // bytes
)

// Tags lists the tags of repo, in the registry's order. Errors are those of Head. A list of more than 100,000 tags or 16 MiB is
// an error.
func (r *Registry) Tags(ctx context.Context, repo string) ([]string, error) {
	q, err := r.query(http.MethodGet, repo, "tags", "list")
	if err != nil {
		return nil, err
	}
	q.subject = "tags of " + repo
	q.values = url.Values{"n": {pageSize}}
	var tags []string
	err = r.pages(ctx, q, func(doc *document) (int, error) {
		var page struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(doc.data, &page); err != nil {
			return 0, err
		}
		tags = append(tags, page.Tags...)
		return len(tags), nil
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// Referrers lists the descriptors of the referrers of the manifest d of repo. The error of a registry without such lists matches
// [errors.ErrUnsupported]; its clients keep an index at [ReferrersTag]. Other errors are those of Head.
//
// Source: OCI distribution specification 1.1, "Listing Referrers".
func (r *Registry) Referrers(ctx context.Context, repo string, d v1.Hash) ([]v1.Descriptor, error) {
	q, err := r.query(http.MethodGet, repo, "referrers", d.String(), types.OCIImageIndex)
	if err != nil {
		return nil, err
	}
	q.subject = "referrers of " + q.subject
	var found []v1.Descriptor
	err = r.pages(ctx, q, func(doc *document) (int, error) {
		if mediaType(doc.header) != types.OCIImageIndex {
			return 0, errors.ErrUnsupported
		}
		more, err := parseIndex(doc.data)
		found = append(found, more...)
		return len(found), err
	})
	var e *Error
	switch {
	case err == nil:
		return found, nil
	case errors.As(err, &e) && knowsNoReferrers(e.Status):
		return nil, fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return nil, err
}

// knowsNoReferrers reports whether a server without lists of referrers answers with this status. The specification says 404, but
// not all servers do.
func knowsNoReferrers(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// ReferrersTag is the tag at which clients keep the index of the referrers of d.
//
// Source: OCI distribution specification 1.1, "Referrers Tag Schema".
func ReferrersTag(d v1.Hash) string { return fmt.Sprintf("%.32s-%.64s", d.Algorithm, d.Hex) }

func parseIndex(data []byte) ([]v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	return index.Manifests, nil
}

// pages reads all pages of a list. add takes a page, and returns the number of items so far.
func (r *Registry) pages(ctx context.Context, q query, add func(*document) (int, error)) error {
	left := int64(maxListed)
	for range maxPages {
		doc, err := r.read(ctx, q, left)
		if err != nil {
			return err
		}
		left -= int64(len(doc.data))
		n, err := add(doc)
		if err != nil {
			return r.nonsense(q.subject, http.StatusOK, err)
		}
		if n > maxItems {
			return r.nonsense(q.subject, http.StatusOK, fmt.Errorf("list of more than %d items", maxItems))
		}
		next := parseNext(doc.header.Values("Link"))
		if next == "" {
			return nil
		}
		if q, err = r.nextPage(q, next); err != nil {
			return r.nonsense(q.subject, http.StatusOK, err)
		}
	}
	return r.nonsense(q.subject, http.StatusOK, fmt.Errorf("list of more than %d pages", maxPages))
}

// nextPage makes the query for the next page. It uses the path and the query of the link only: a registry behind a proxy may not
// know its own scheme.
func (r *Registry) nextPage(q query, next string) (query, error) {
	base := r.url(q.path, nil)
	u, err := base.Parse(next)
	if err != nil {
		return q, errors.New("next page has an address that is none")
	}
	below, ok := strings.CutPrefix(path.Clean(u.Path), "/v2/")
	own := fetch.Origin(&url.URL{Scheme: u.Scheme, Host: base.Host}) == fetch.Origin(u)
	if !own || !ok {
		return q, fmt.Errorf("next page is elsewhere, at %.300s", fetch.Origin(u))
	}
	values := u.Query()
	if below == q.path && values.Encode() == q.values.Encode() {
		return q, errors.New("next page is the same again")
	}
	q.path, q.values = below, values
	return q, nil
}

// Links of a header, and the parameters of a link.
//
// Source: RFC 8288, 3.
var (
	linkPattern      = regexp.MustCompile(`<([^>]*)>((?:"[^"]*"?|[^",])*)`)
	parameterPattern = regexp.MustCompile(`;\s*([^=;"\s]*)\s*=((?:"[^"]*"?|[^";])*)`)
)

// parseNext finds the address of the next page in Link headers; "" if there is none.
func parseNext(links []string) string {
	for _, header := range links {
		for _, link := range linkPattern.FindAllStringSubmatch(header, -1) {
			for _, p := range parameterPattern.FindAllStringSubmatch(link[2], -1) {
				relations := strings.Fields(strings.ToLower(strings.Trim(strings.TrimSpace(p[2]), `"`)))
				if strings.EqualFold(p[1], "rel") && slices.Contains(relations, "next") {
					return link[1]
				}
			}
		}
	}
	return ""
}
