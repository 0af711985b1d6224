package registry

import (
	"net/http"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/oci"
)

// Mirror has the images of another registry. A request names it by the image's host in the query, as containerd does
// (/v2/library/nginx/…?ns=docker.io), or by its name as the first component of the path (/v2/docker.io/library/nginx/…).
type Mirror struct {
	// Name is one component of a repository name, such as docker.io.
	Name string
	// Hosts are the values of ns for this mirror. They are never dialled.
	Hosts  []string
	Source Source
	// Lister and Referrers may be nil, as in [Handler].
	Lister    Lister
	Referrers ReferrerLister
}

// backend has what answers one request.
type backend struct {
	source    Source
	lister    Lister
	referrers ReferrerLister
}

// backend returns the backend of a route, and sets the name of the repository there. For an unknown host, the client gets an error for
// an unknown name, so that it tries the next mirror.
func (h *Handler) backend(r *http.Request, rt *route) (backend, error) {
	ns, err := namespace(r)
	if err != nil {
		return backend{}, err
	}
	rt.inner = rt.repository
	if ns != "" && !hasHost(h.Hosts, ns) {
		i := slices.IndexFunc(h.Mirrors, func(m Mirror) bool { return hasHost(m.Hosts, ns) })
		if i < 0 {
			return backend{}, problem(errNameUnknown, "this registry has no images of %s", ns)
		}
		return h.Mirrors[i].backend(), nil
	}
	first, rest, _ := strings.Cut(rt.repository, "/")
	i := slices.IndexFunc(h.Mirrors, func(m Mirror) bool { return m.Name == first })
	if i < 0 || rt.repository == "" {
		return backend{h.Source, h.Lister, h.Referrers}, nil
	}
	if rest == "" {
		return backend{}, problem(errNameUnknown, "%s is a registry that is mirrored here: name an image of it, %s/…", first, first)
	}
	rt.inner = rest
	return h.Mirrors[i].backend(), nil
}

// hasHost compares host names.
func hasHost(hosts []string, ns string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, ns) })
}

func (m Mirror) backend() backend { return backend{m.Source, m.Lister, m.Referrers} }

// namespace returns the host of the image in a request of containerd to a mirror.
func namespace(r *http.Request) (string, error) {
	ns := r.URL.Query().Get("ns")
	if len(ns) > oci.MaxName || strings.Trim(ns, namespaceBytes) != "" {
		return "", problem(errNameInvalid, "ns %q is not a host", truncate(ns, 100))
	}
	return ns, nil
}

const namespaceBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
