package registry

import (
	"net/http"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/oci"
)

// A Mirror has the images of another registry. Clients reach it in two ways: as containerd reaches mirrors, by naming
// the image's host beside the path (/v2/library/nginx/…?ns=docker.io), or with its name as the first component of the
// path (/v2/docker.io/library/nginx/…).
type Mirror struct {
	// Name is one component of a repository name, such as docker.io.
	Name string
	// Hosts are what ns may say to mean this mirror. They are keys to look it up by, never addresses to dial.
	Hosts  []string
	Source Source
	// Lister and Referrers may be nil, as those of a [Handler].
	Lister    Lister
	Referrers ReferrerLister
}

// A backend is what one request is for.
type backend struct {
	source    Source
	lister    Lister
	referrers ReferrerLister
}

// backend finds what rt is for, and sets the name that its repository has there. Where a client names the host of an
// image that this registry knows nothing of, it is told that there is nothing, so that it goes on to the next mirror.
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

// hasHost compares as host names are compared.
func hasHost(hosts []string, ns string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, ns) })
}

func (m Mirror) backend() backend { return backend{m.Source, m.Lister, m.Referrers} }

// namespace reads the host that containerd names when it takes this registry for a mirror of it.
func namespace(r *http.Request) (string, error) {
	ns := r.URL.Query().Get("ns")
	if len(ns) > oci.MaxName || strings.Trim(ns, namespaceBytes) != "" {
		return "", problem(errNameInvalid, "ns %q is not a host", truncate(ns, 100))
	}
	return ns, nil
}

const namespaceBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
