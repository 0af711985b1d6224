package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store"
)

// A host that does not answer is asked once: the next store must not wait for it.
func TestHostDropsPackets(t *testing.T) {
	c := client(t, "http://192.0.2.1")
	dialed := 0
	c.wire.transport.DialContext = func(_ context.Context, network, _ string) (net.Conn, error) {
		dialed++
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
	}
	if _, err := c.Get(t.Context(), "x", 1); !errors.Is(err, store.ErrUnavailable) || dialed != 1 || len(c.slept) > 0 {
		t.Errorf("dialled %d times, slept %v: %v", dialed, c.slept, err)
	}
}

// silent makes a client whose servers take a request and say no more than then does.
func silent(t *testing.T, then func(n int, server net.Conn)) *fake {
	c := client(t, "http://192.0.2.1")
	c.wire.watch = afterFunc
	dialed := 0
	c.wire.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		dialed++
		ours, theirs := net.Pipe()
		n := dialed
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
				t.Error(err)
			}
			go then(n, theirs)
			_, _ = io.Copy(io.Discard, theirs) // ends with the connection
		}()
		return ours, nil
	}
	t.Cleanup(func() { c.wire.transport.CloseIdleConnections() })
	return c
}

// A host that takes the connection and says nothing is given up, a file's later than a document's.
func TestSilence(t *testing.T) {
	for name, want := range map[string]time.Duration{"document": documentTimeout, "file": fileTimeout} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := silent(t, func(int, net.Conn) {})
				start := time.Now()
				var err error
				if name == "file" {
					_, err = c.Open(t.Context(), "x")
				} else {
					_, err = c.Get(t.Context(), "x", 1)
				}
				if took := time.Since(start); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in "+want.String()) || took != want || len(c.slept) > 0 {
					t.Errorf("slept %v, %v after %v", c.slept, err, took)
				}
			})
		})
	}
}

// The wait begins by HTTP/2, too.
func TestSilenceByHTTP2(t *testing.T) {
	proto := make(chan string, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		proto <- r.Proto
		<-r.Context().Done()
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	c := client(t, s.URL)
	c.wire.transport.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.wire.hop(req, time.Millisecond); resp != nil || err != lateError(time.Millisecond) || <-proto != "HTTP/2.0" {
		t.Errorf("%v, %v", resp, err)
	}
}

// Who was there before is worth more patience: there is a file half of which has come.
func TestSilenceAfterACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := silent(t, func(n int, server net.Conn) {
			switch {
			case n == 1:
				fmt.Fprint(server, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 10\r\n\r\n01234")
				server.Close()
			case n == 4:
				fmt.Fprint(server, "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789")
			}
		})
		got, err := readAll(t, c, "x")
		if err != nil || string(got) != "0123456789" || len(c.slept) != 3 {
			t.Errorf("%q, slept %v: %v", got, c.slept, err)
		}
	})
}

// A server that sends a byte now and then does not hold anybody for ever.
func TestDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := silent(t, func(_ int, server net.Conn) {
			fmt.Fprint(server, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 1000000\r\n\r\n")
			for {
				time.Sleep(stallTimeout - time.Second)
				if _, err := fmt.Fprint(server, "x"); err != nil {
					return
				}
			}
		})
		start := time.Now()
		_, err := c.Get(t.Context(), "x", 1<<20)
		if took := time.Since(start); !errors.Is(err, store.ErrUnavailable) || took > maxTries*slowTimeout+time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		time.Sleep(stallTimeout) // until the last server sees that nobody reads
	})
}

// A reader that takes its time is not a slow server.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := silent(t, func(_ int, server net.Conn) {
			fmt.Fprint(server, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000))
		})
		r, err := c.Open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 10 {
			time.Sleep(time.Hour)
			if _, err := io.ReadFull(r, make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.slept) > 0 {
			t.Errorf("slept %v", c.slept)
		}
	})
}

// Cuts do not make a slow server faster.
func TestProgress(t *testing.T) {
	for _, tc := range []struct {
		came   int64
		waited time.Duration
		want   bool
	}{
		{progress, 0, true}, {progress - 1, 0, false}, {0, 0, false}, {slowBytes, slowTimeout, true}, {slowBytes - 1, slowTimeout, false},
		{progress, time.Minute, false}, {100 * slowBytes, 100 * slowTimeout, true},
	} {
		b := &body{off: 77 + tc.came, mark: 77, waited: tc.waited}
		if got := b.progressed(); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
}
