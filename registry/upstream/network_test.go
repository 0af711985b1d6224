package upstream

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/fetch/memnet"
)

// network is a network in memory, and what is configured of a client in it.
type network struct {
	*memnet.Network
	t       *testing.T
	options fetch.Options
}

// inNetwork runs f in a bubble with a network.
func inNetwork(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	memnet.Run(t, func(t *testing.T, n *memnet.Network) {
		f(t, &network{n, t, fetch.Options{Connect: n.Connect, Proxy: memnet.NoProxy, TLS: n.TLS()}})
	})
}

// open makes a Registry in the network.
func (n *network) open(o Options) *Registry {
	n.t.Helper()
	o.Log = slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f := n.options
	f.TLS = &tls.Config{RootCAs: f.TLS.RootCAs, InsecureSkipVerify: o.SkipVerify}
	r, err := newRegistry(o, f)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(r.client.Close)
	return r
}

// keychain has the same credentials for all it knows, and counts.
type keychain struct {
	creds map[string]authn.AuthConfig
	mu    sync.Mutex
	asked []string
}

func (k *keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, r.RegistryStr())
	c, ok := k.creds[r.RegistryStr()]
	if !ok {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(c), nil
}

// alice has a password at the hosts.
func alice(hosts ...string) *keychain {
	k := &keychain{creds: map[string]authn.AuthConfig{}}
	for _, h := range hosts {
		k.creds[h] = authn.AuthConfig{Username: "alice", Password: "secret"}
	}
	return k
}

const aliceBasic = "Basic YWxpY2U6c2VjcmV0"

// originHost is the host and port of a registry.
func originHost(r *Registry) string {
	_, host, _ := strings.Cut(fetch.Origin(r.address.base()), "://")
	return host
}
