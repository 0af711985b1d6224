package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

const portTries = 20

// listeners are the sockets of one --listen address.
type listeners []net.Listener

// listen opens addr. Its errors do not contain addr. "localhost" opens 127.0.0.1 and ::1, if the machine has both, on the same
// port.
func listen(ctx context.Context, addr string) (listeners, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host != "localhost" {
		l, err := listenOn(ctx, host, port)
		if err != nil {
			return nil, err
		}
		return listeners{l}, nil
	}
	for try := 1; ; try++ {
		ls, err := listenLoopback(ctx, port)
		if err == nil || port != "0" || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return ls, err
		}
	}
}

func listenLoopback(ctx context.Context, port string) (listeners, error) {
	v4, err := listenOn(ctx, "127.0.0.1", port)
	if absent(err) {
		v6, err := listenOn(ctx, "::1", port)
		if err != nil {
			return nil, err
		}
		return listeners{v6}, nil
	}
	if err != nil {
		return nil, err
	}
	v6, err := listenOn(ctx, "::1", portOf(v4))
	switch {
	case err == nil:
		return listeners{v4, v6}, nil
	case absent(err):
		return listeners{v4}, nil
	}
	return nil, errors.Join(err, v4.Close())
}

func listenOn(ctx context.Context, host, port string) (net.Listener, error) {
	addr := net.JoinHostPort(host, port)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, addressInUse(addr)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // the caller adds the address
	}
	return l, err
}

// addressInUse is the error for an address that another process or another setting uses. It matches syscall.EADDRINUSE.
type addressInUse string

func (a addressInUse) Error() string {
	return fmt.Sprintf("address %s is in use", string(a))
}

func (addressInUse) Is(target error) bool { return target == syscall.EADDRINUSE }

// absent reports whether err means that the machine has no such address, or no IPv6 (or IPv4) at all.
func absent(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

func portOf(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

func (ls listeners) close() {
	for _, l := range ls {
		l.Close()
	}
}

// loopback reports whether all listeners accept connections of this machine only.
func (ls listeners) loopback() bool {
	for _, l := range ls {
		if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return false
		}
	}
	return true
}

// hostPort is the address for a client on this machine: the host of addr, or localhost if addr has none.
func (ls listeners) hostPort(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, portOf(ls[0]))
}

// front is one address, with the handler that it serves: everything, or one mirror.
type front struct {
	listeners
	addr    string // as in the settings
	mirror  string // "" for everything
	handler http.Handler
}

type fronts []front

// listenAll opens all addresses of the settings, the main one first.
func listenAll(ctx context.Context, c *Config) (fronts, error) {
	var all fronts
	if c.Listen != "" {
		all = append(all, front{addr: c.Listen})
	}
	for _, l := range c.MirrorListen {
		all = append(all, front{addr: l.Addr, mirror: l.Mirror})
	}
	for i, f := range all {
		ls, err := listen(ctx, f.addr)
		if err != nil {
			all[:i].close()
			if f.mirror != "" {
				return nil, fmt.Errorf("mirror-listen %s: %w", f.addr, err)
			}
			return nil, fmt.Errorf("listen %s: %w", f.addr, err)
		}
		all[i].listeners = ls
	}
	return all, nil
}

func (fs fronts) close() {
	for _, f := range fs {
		f.listeners.close()
	}
}
