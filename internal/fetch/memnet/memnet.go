// Package memnet is a network in memory for the tests of HTTP clients: hosts with names, addresses and servers.
//
// It must not know what is tested, and no package that is no test may import it.
//
//	memnet.Run(t, func(t *testing.T, n *memnet.Network) {
//		n.Serve("r.lab.test:443", "9.9.9.9", handler)
//		c := fetch.New(fetch.Options{Connect: n.Connect, TLS: n.TLS(), Proxy: memnet.NoProxy, ...})
//	})
package memnet

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
)

// A Network has hosts with names, addresses and servers. Its clock is the bubble's, so that nothing sleeps.
type Network struct {
	t    *testing.T
	cert tls.Certificate
	pool *x509.CertPool

	// Fault is the error of a connection to an address without a server: ECONNREFUSED.
	Fault error

	mu     sync.Mutex
	hosts  map[string]*Host // by name:port
	dialed []string         // addresses that were connected to
	log    strings.Builder
}

// Host is one server.
type Host struct {
	IP    netip.AddrPort // to which the name resolves; a test may change it
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	net   *Network

	mu       sync.Mutex
	requests []*http.Request
}

// Run runs f in a bubble with a network.
func Run(t *testing.T, f func(t *testing.T, n *Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &Network{t: t, hosts: map[string]*Host{}, Fault: syscall.ECONNREFUSED}
		n.certify()
		f(t, n)
	})
}

// certify makes the one certificate of all hosts that speak TLS.
func (n *Network) certify() {
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

// Serve starts a server at name:port, which resolves to ip. Port 443 speaks TLS.
func (n *Network) Serve(name, ip string, handler http.HandlerFunc) *Host {
	n.t.Helper()
	_, port, err := net.SplitHostPort(name)
	if err != nil {
		n.t.Fatal(err)
	}
	h := &Host{
		IP: netip.MustParseAddrPort(net.JoinHostPort(ip, port)), conns: make(chan net.Conn), done: make(chan struct{}), net: n,
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

func (h *Host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *Host) Close() error { h.once.Do(func() { close(h.done) }); return nil }

func (h *Host) Addr() net.Addr { return net.TCPAddrFromAddrPort(h.IP) }

// Requests returns the requests so far.
func (h *Host) Requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// Paths returns what was asked for, and whether with credentials.
func (h *Host) Paths() []string {
	var all []string
	for _, r := range h.Requests() {
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

// Connect dials as a dialer does: the name is resolved, and Control sees the address.
func (n *Network) Connect(ctx context.Context, d *net.Dialer, nw, addr string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[addr]
	n.mu.Unlock()
	resolved := addr
	if h != nil {
		resolved = h.IP.String()
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
		return nil, &net.OpError{Op: "dial", Net: nw, Err: n.Fault}
	}
	ours, theirs := net.Pipe()
	select {
	case h.conns <- newConn(theirs, ours, &net.TCPAddr{IP: net.IPv4(1, 1, 1, 1), Port: 1}):
		return newConn(ours, theirs, net.TCPAddrFromAddrPort(h.IP)), nil
	case <-h.done:
		return nil, &net.OpError{Op: "dial", Net: nw, Err: n.Fault}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements io.Writer for the log.
func (n *Network) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

func (n *Network) Logged() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String()
}

// Dialed returns the addresses that were connected to, in order.
func (n *Network) Dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}

// TLS trusts the certificate of the network's hosts, which is for *.lab.test, *.cdn.test and a few others.
func (n *Network) TLS() *tls.Config { return &tls.Config{RootCAs: n.pool} }

// NoProxy is the proxy function of a client without a proxy.
func NoProxy(*http.Request) (*url.URL, error) { return nil, nil }
