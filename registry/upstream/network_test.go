package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// A network is in memory: hosts with names, addresses and servers. Its clock is the bubble's, so that nothing sleeps.
type network struct {
	t    *testing.T
	cert tls.Certificate
	pool *x509.CertPool

	mu     sync.Mutex
	hosts  map[string]*host // by name:port
	dialed []string         // addresses that were connected to
	fault  error            // of a connection to where nobody is
	log    strings.Builder
}

// A host is one server.
type host struct {
	net.Listener
	addr  netip.AddrPort
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	net   *network

	mu       sync.Mutex
	requests []*http.Request
}

// inNetwork runs f in a bubble with a network.
func inNetwork(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, hosts: map[string]*host{}, fault: syscall.ECONNREFUSED}
		n.certify()
		f(t, n)
	})
}

// certify makes the one certificate of all hosts that speak TLS.
func (n *network) certify() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		DNSNames:    []string{"*.lab.test", "*.cdn.test", "index.docker.io", "auth.docker.io"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		n.t.Fatal(err)
	}
	n.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		n.t.Fatal(err)
	}
	n.pool = x509.NewCertPool()
	n.pool.AddCert(leaf)
}

// serve starts a server at name:port, which resolves to ip. Port 443 speaks TLS.
func (n *network) serve(name, ip string, handler http.HandlerFunc) *host {
	n.t.Helper()
	_, port, err := net.SplitHostPort(name)
	if err != nil {
		n.t.Fatal(err)
	}
	h := &host{
		addr: netip.MustParseAddrPort(net.JoinHostPort(ip, port)), conns: make(chan net.Conn), done: make(chan struct{}), net: n,
	}
	n.mu.Lock()
	n.hosts[name] = h
	n.mu.Unlock()
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.mu.Lock()
			h.requests = append(h.requests, r.Clone(context.Background()))
			h.mu.Unlock()
			handler(w, r)
		}),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	if port == "443" {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{n.cert}}
		go s.ServeTLS(h, "", "")
	} else {
		go s.Serve(h)
	}
	n.t.Cleanup(func() { s.Close() })
	return h
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error { h.once.Do(func() { close(h.done) }); return nil }

func (h *host) Addr() net.Addr { return net.TCPAddrFromAddrPort(h.addr) }

// saw returns the requests so far.
func (h *host) saw() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// paths returns what was asked for, and whether with credentials.
func (h *host) paths() []string {
	var all []string
	for _, r := range h.saw() {
		s := r.Method + " " + r.URL.Path
		if a := r.Header.Get("Authorization"); a != "" {
			s += " " + a
		}
		all = append(all, s)
	}
	return all
}

// A conn is one end of a pipe whose other end has an address. Unlike one of [net.Pipe] it takes bytes before they are
// read, and delivers them even if it is closed in the meantime.
type conn struct {
	net.Conn
	remote net.Addr
	peer   net.Conn
	out    chan []byte
	once   sync.Once
	closed chan struct{}
}

func newConn(c, peer net.Conn, remote net.Addr) *conn {
	n := &conn{Conn: c, peer: peer, remote: remote, out: make(chan []byte, 1000), closed: make(chan struct{})}
	go n.pump()
	return n
}

// pump ends when the conn is closed and all is delivered, or the peer is closed.
func (c *conn) pump() {
	defer c.Conn.Close()
	for {
		select {
		case p := <-c.out:
			c.Conn.Write(p)
			continue
		default:
		}
		select {
		case p := <-c.out:
			c.Conn.Write(p)
		case <-c.closed:
			return
		}
	}
}

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Write(p []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case c.out <- bytes.Clone(p):
		return len(p), nil
	}
}

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) SetWriteDeadline(time.Time) error { return nil } // no write takes time

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.SetReadDeadline(time.Unix(1, 0))
		c.peer.SetWriteDeadline(time.Unix(1, 0)) // nobody reads it any more
	})
	return nil
}

// connect dials as a dialer does: the name is resolved, and Control sees the address.
func (n *network) connect(ctx context.Context, d *net.Dialer, nw, addr string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[addr]
	n.mu.Unlock()
	resolved := addr
	if h != nil {
		resolved = h.addr.String()
	}
	if d.Control != nil {
		if err := d.Control(nw, resolved, nil); err != nil {
			return nil, &net.OpError{Op: "dial", Net: nw, Err: err}
		}
	}
	n.mu.Lock()
	n.dialed = append(n.dialed, resolved)
	n.mu.Unlock()
	if h == nil {
		return nil, &net.OpError{Op: "dial", Net: nw, Err: n.fault}
	}
	ours, theirs := net.Pipe()
	select {
	case h.conns <- newConn(theirs, ours, &net.TCPAddr{IP: net.IPv4(1, 1, 1, 1), Port: 1}):
		return newConn(ours, theirs, net.TCPAddrFromAddrPort(h.addr)), nil
	case <-h.done:
		return nil, &net.OpError{Op: "dial", Net: nw, Err: n.fault}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements io.Writer for the log.
func (n *network) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

func (n *network) logged() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String()
}

// open makes a Registry in the network.
func (n *network) open(o Options) *Registry {
	n.t.Helper()
	o.Log = slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, err := New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	r.wire.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	r.wire.connect = n.connect
	r.wire.direct.TLSClientConfig.RootCAs = n.pool
	n.t.Cleanup(r.wire.direct.CloseIdleConnections)
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
