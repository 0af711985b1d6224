package upstream

import (
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/oci"
)

// address is where the registry is reached.
type address struct {
	host      string      // host[:port], lower case
	plain     atomic.Bool // http, not https
	undecided atomic.Bool // plain is not known yet
}

func newAddress(registry, raw string) (*address, error) {
	if registry == "" || len(registry) > oci.MaxName || strings.Trim(registry, nameBytes) != "" {
		return nil, fmt.Errorf("registry name %.100q: want a host such as quay.io, or host:port: %w", registry, fs.ErrInvalid)
	}
	if raw == "" {
		raw = "https://" + registry
		if registry == oci.DockerHub {
			raw = "https://" + name.DefaultRegistry
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Host, nameBytes) != "" ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("registry %s: URL %.100q: want https://host[:port] or http://host[:port]: %w",
			registry, raw, fs.ErrInvalid)
	}
	a := &address{host: strings.ToLower(u.Host)}
	a.plain.Store(u.Scheme == "http")
	return a, nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

// base is the address without a path. The caller may change it.
func (a *address) base() *url.URL {
	if a.plain.Load() {
		return &url.URL{Scheme: "http", Host: a.host}
	}
	return &url.URL{Scheme: "https", Host: a.host}
}

func (a *address) hostname() string { return a.base().Hostname() }

// isHub reports whether a host is one of Docker Hub's. Docker's configuration has one name for all of them.
func isHub(host string) bool {
	switch strings.ToLower(strings.TrimSuffix(host, ".")) {
	case oci.DockerHub, name.DefaultRegistry, "registry-1.docker.io", "registry.hub.docker.com":
		return true
	}
	return false
}

// keychainTarget is the name under which a keychain has the credentials: the host in the image's name. If another party owns
// the host that is connected to, it is that host: the party must not get credentials that are not its own.
func keychainTarget(registry string, a *address) target {
	if isHub(a.hostname()) {
		return name.DefaultRegistry
	}
	t := target(strings.ToLower(registry))
	if t == oci.DockerHub {
		t = name.DefaultRegistry
	}
	if own := (&url.URL{Host: string(t)}).Hostname(); !sameParty(own, a.hostname()) {
		return target(a.host)
	}
	return t
}

// target implements authn.Resource.
type target string

func (t target) String() string      { return string(t) }
func (t target) RegistryStr() string { return string(t) }

// sameParty reports whether two hosts may share credentials: they are equal, or have the same last two labels. Public
// suffixes with a dot, such as co.uk, are not known to it.
func sameParty(a, b string) bool {
	a, b = strings.ToLower(strings.TrimSuffix(a, ".")), strings.ToLower(strings.TrimSuffix(b, "."))
	if a == b {
		return a != ""
	}
	domain, ok := lastLabels(a)
	other, too := lastLabels(b)
	return ok && too && domain == other
}

// lastLabels returns the last two labels of a host; an address or a single label has none.
func lastLabels(host string) (string, bool) {
	if _, err := netip.ParseAddr(host); err == nil || fetch.EndsInNumber(host) {
		return "", false
	}
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return "", false
	}
	last := labels[len(labels)-2:]
	return strings.Join(last, "."), last[0] != "" && last[1] != ""
}
