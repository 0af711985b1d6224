package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/registry"
)

// pipes is a listener whose connections are in memory, so that their time is the test's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// piped is a server in a bubble.
type piped struct {
	*pipes
	signals chan os.Signal
	ended   chan error
	log     bytes.Buffer // to be read after the end
}

func newPiped(h http.Handler) *piped {
	p := &piped{
		pipes:   &pipes{conns: make(chan net.Conn), closed: make(chan struct{})},
		signals: make(chan os.Signal, 2), ended: make(chan error, 1),
	}
	srv := newHTTPServer(context.Background(), slog.New(slog.NewTextHandler(&p.log, nil)))
	go func() { p.ended <- srv.run(fronts{{listeners: listeners{p}, handler: h}}, p.signals) }()
	return p
}

// client is one connection; what it sends goes out while answers are read.
type client struct {
	net.Conn
	r       *bufio.Reader
	sending sync.WaitGroup
}

func (p *piped) dial() *client {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return &client{Conn: ours, r: bufio.NewReader(ours)}
}

// send sends pieces, with a pause before each but the first.
func (c *client) send(pause time.Duration, pieces ...string) {
	c.sending.Go(func() {
		for i, s := range pieces {
			if i > 0 {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(c, s); err != nil {
				return
			}
		}
	})
}

// end closes the connection.
func (c *client) end() {
	c.Close()
	c.sending.Wait()
}

// answer reads one answer and returns its status; 0 if the connection ended first.
func (c *client) answer(t *testing.T, method string) int {
	t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return 0
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

func (c *client) open() bool {
	synctest.Wait()
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.r.Peek(1)
	return os.IsTimeout(err)
}

// A request that never comes to its end is answered, holds its connection for no longer than readTimeout, and holds up no end
// of the server.
func TestUnfinishedRequests(t *testing.T) {
	const host = " HTTP/1.1\r\nHost: h\r\n"
	drip := make([]string, 100)
	for i := range drip {
		drip[i] = "x"
	}
	for name, c := range map[string]struct {
		method string
		status int
		pause  time.Duration
		pieces []string
		soon   bool // the answer does not wait for the body
	}{
		"no body":         {"GET", 408, 0, []string{"GET /v2/" + host + "Content-Length: 10\r\n\r\n"}, false},
		"HEAD":            {"HEAD", 408, 0, []string{"HEAD /v2/" + host + "Content-Length: 10\r\n\r\n"}, false},
		"half a body":     {"GET", 408, 0, []string{"GET /v2/" + host + "Content-Length: 10\r\n\r\n12345"}, false},
		"half chunked":    {"GET", 408, 0, []string{"GET /v2/" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\n123"}, false},
		"no last chunk":   {"GET", 408, 0, []string{"GET /v2/" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\n123\r\n"}, false},
		"no end of it":    {"GET", 400, 0, []string{"GET /v2/" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n"}, false},
		"dribbled":        {"GET", 408, time.Minute, append([]string{"GET /v2/" + host + "Content-Length: 100\r\n\r\n"}, drip...), false},
		"dribbled faster": {"GET", 408, time.Second, append([]string{"GET /v2/" + host + "Content-Length: 100\r\n\r\n"}, drip...), false},
		"POST":            {"POST", 408, 0, []string{"POST /v2/hello/blobs/uploads/" + host + "Content-Length: 10\r\n\r\n"}, false},
		"PUT":             {"PUT", 408, 0, []string{"PUT /v2/hello/manifests/x" + host + "Content-Length: 10\r\n\r\n"}, false},
		"PATCH":           {"PATCH", 408, 0, []string{"PATCH /v2/x" + host + "Transfer-Encoding: chunked\r\n\r\n"}, false},
		"health":          {"GET", 408, 0, []string{"GET /healthz" + host + "Content-Length: 10\r\n\r\n"}, false},
		"unknown path":    {"GET", 408, 0, []string{"GET /nothing" + host + "Content-Length: 10\r\n\r\n"}, false},
		"huge":            {"PUT", 405, 0, []string{"PUT /v2/x" + host + "Content-Length: 1099511627776\r\n\r\n"}, true},
		"endless": {"PUT", 405, 0, []string{"PUT /v2/x" + host + "Transfer-Encoding: chunked\r\n\r\n",
			strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 80)}, true},
		"asks first":       {"PUT", 405, 0, []string{"PUT /v2/x" + host + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"}, true},
		"asks for nothing": {"GET", 200, 0, []string{"GET /v2/" + host + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"}, true},
		"expects oddly":    {"GET", 417, 0, []string{"GET /v2/" + host + "Content-Length: 10\r\nExpect: tea\r\n\r\n"}, true},
		"options":          {"OPTIONS", 200, 0, []string{"OPTIONS *" + host + "Content-Length: 10\r\n\r\n"}, false},
		"no method":        {"CONNECT", 408, 0, []string{"CONNECT /v2/" + host + "Content-Length: 10\r\n\r\n"}, false},
		"bad chunk":        {"GET", 400, 0, []string{"GET /v2/" + host + "Transfer-Encoding: chunked\r\n\r\nfive\r\n"}, true},
		"no headers":       {"GET", 0, 0, []string{"GET /v2/" + host}, false},
		"slow headers":     {"GET", 0, time.Second, append([]string{"GET /v2/" + host + "X-A: "}, drip...), false},
		"nothing":          {"GET", 0, 0, nil, false},
	} {
		for _, signalled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", name, signalled), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, start := newPiped(&registry.Handler{}), time.Now()
					conn := p.dial()
					defer conn.end()
					conn.send(c.pause, c.pieces...)
					synctest.Wait()
					if signalled {
						p.signals <- syscall.SIGTERM
					}
					if got := conn.answer(t, c.method); got != c.status && !(signalled && got == 0 && c.status == 0) {
						t.Errorf("status %d", got)
					}
					if took := time.Since(start); took > readTimeout || c.soon && took > 0 {
						t.Errorf("the answer took %v", took)
					}
					if n, err := io.Copy(io.Discard, conn.r); n > 0 || os.IsTimeout(err) {
						t.Errorf("%d bytes more, %v", n, err)
					}
					if took := time.Since(start); took > readTimeout+time.Second {
						t.Errorf("the connection was held for %v", took)
					}
					if !signalled {
						p.signals <- syscall.SIGTERM
					}
					if err := <-p.ended; err != nil || time.Since(start) > readTimeout+time.Second {
						t.Errorf("ended after %v: %v", time.Since(start), err)
					}
				})
			})
		}
	}
}

// A body that comes is read, whatever is in it, and its connection goes on to the next request.
func TestConnectionsAreKept(t *testing.T) {
	const host = " HTTP/1.1\r\nHost: h\r\n"
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(&registry.Handler{})
		conn := p.dial()
		for _, c := range []struct {
			method string
			status int
			pause  time.Duration
			pieces []string
		}{
			{"GET", 200, 0, []string{"GET /v2/" + host + "\r\n"}},
			{"GET", 200, 0, []string{"GET /v2/" + host + "Content-Length: 2\r\n\r\n{}"}},
			{"GET", 200, time.Second, []string{"GET /v2/" + host + "Content-Length: 4\r\n\r\n", "12", "34"}},
			{"HEAD", 200, 0, []string{"HEAD /v2/" + host + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n"}},
			{"POST", 405, 0, []string{"POST /v2/x" + host + "Content-Length: 200000\r\n\r\n", strings.Repeat("x", 200_000)}},
			{"GET", 200, 0, []string{"GET /v2/" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"}},
			{"GET", 404, time.Minute, []string{"GET /nothing" + host + "\r\n"}},
		} {
			conn.send(c.pause, c.pieces...)
			if got := conn.answer(t, c.method); got != c.status {
				t.Fatalf("%q: status %d", c.pieces[0], got)
			}
			time.Sleep(c.pause) // less than idleTimeout
			if !conn.open() {
				t.Fatalf("%q: the connection is closed", c.pieces[0])
			}
			conn.SetReadDeadline(time.Time{})
		}
		p.signals <- syscall.SIGTERM // one that is idle holds nothing up
		if err := <-p.ended; err != nil {
			t.Error(err)
		}
		if conn.open() {
			t.Error("the idle connection is open")
		}
	})
}

// However long an answer takes, the time for the request does not end it.
func TestAnswersTakeTheirTime(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		time.Sleep(100 * readTimeout)
		fmt.Fprint(w, r.Context().Err())
	})
	for _, body := range []string{"\r\n", "Content-Length: 2\r\n\r\n{}", "Content-Length: 1000000\r\n\r\n{", "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPiped(slow)
			conn := p.dial()
			conn.send(0, "GET / HTTP/1.1\r\nHost: h\r\n"+body)
			resp, err := http.ReadResponse(conn.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "a<nil>" {
				t.Errorf("%q: %q, %v", body, b, err)
			}
			conn.end()
			p.signals <- syscall.SIGTERM
			if err := <-p.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// Requests that run at a signal have their time, and no more: then they are cut off, and the log says how many.
func TestGracefulEndIsBounded(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"waits": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"stands still": func(w http.ResponseWriter, r *http.Request) { // for a client that reads nothing
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPiped(h)
				for range 3 {
					conn := p.dial()
					defer conn.end()
					conn.send(0, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				}
				synctest.Wait()
				start := time.Now()
				p.signals <- syscall.SIGTERM
				if err := <-p.ended; err != nil || time.Since(start) != stopTimeout {
					t.Errorf("ended after %v: %v", time.Since(start), err)
				}
				if !strings.Contains(p.log.String(), "cut off") || !strings.Contains(p.log.String(), "requests=3") {
					t.Errorf("the log says %s", &p.log)
				}
			})
		})
	}
}
