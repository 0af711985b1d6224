package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/store"
)

// A host that does not answer is asked once: the next store must not wait for it.
func TestHostDropsPackets(t *testing.T) {
	dialed := 0
	c := clientWith(t, fetch.Options{Connect: func(_ context.Context, _ *net.Dialer, network, _ string) (net.Conn, error) {
		dialed++
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
	}}, "http://192.0.2.1")
	if _, err := c.Get(t.Context(), "x", 1); !errors.Is(err, store.ErrUnavailable) || dialed != 1 || len(c.slept) > 0 {
		t.Errorf("dialled %d times, slept %v: %v", dialed, c.slept, err)
	}
}

// silent makes a client whose servers take a request and say no more than then does.
func silent(t *testing.T, then func(n int, server net.Conn)) *fake {
	dialed := 0
	connect := func(context.Context, *net.Dialer, string, string) (net.Conn, error) {
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
	return clientWith(t, fetch.Options{Connect: connect}, "http://192.0.2.1")
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
