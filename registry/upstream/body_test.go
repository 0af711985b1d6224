package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	length = 200_000
	half   = 100_000
)

func content() string {
	var b strings.Builder
	for i := 0; b.Len() < length; i++ {
		fmt.Fprintf(&b, "%07d ", i)
	}
	return b.String()[:length]
}

// A cutter serves a blob, and cuts the connection after some bytes of each of the first answers.
type cutter struct {
	data   string
	etag   string
	cuts   []int
	ranges func(w http.ResponseWriter, r *http.Request) bool // answers a request for a range; nil does as it should
	asked  []string                                          // Range and If-Range
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked = append(c.asked, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	if c.etag != "" {
		w.Header().Set("ETag", c.etag)
	}
	off := 0
	if s := r.Header.Get("Range"); s != "" && (c.ranges == nil || c.ranges(w, r)) {
		fmt.Sscanf(s, "bytes=%d-", &off)
		if c.ranges == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(c.data)-1, len(c.data)))
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(c.data)-off))
		w.WriteHeader(http.StatusPartialContent)
	} else if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", fmt.Sprint(len(c.data)))
	}
	data := c.data[off:]
	if n := len(c.asked); n <= len(c.cuts) {
		io.WriteString(w, data[:c.cuts[n-1]])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, data)
}

// blob reads a blob that h serves at a registry of its own.
func blob(t *testing.T, n *network, url string, h http.Handler) (string, *Body, error) {
	t.Helper()
	n.serve("r.lab.test:80", "9.9.9.9", h.ServeHTTP)
	n.serve("r.lab.test:443", "9.9.9.9", h.ServeHTTP)
	r := n.open(Options{Name: "lab", URL: url})
	b, err := r.Blob(t.Context(), "a", hashOf(content()))
	if err != nil {
		return "", nil, err
	}
	t.Cleanup(func() { b.Close() })
	got, err := io.ReadAll(b)
	return string(got), b, err
}

func TestResume(t *testing.T) {
	for _, tc := range []struct {
		name  string
		c     cutter
		asked string
	}{
		{"no cut", cutter{}, ";"},
		{"one cut", cutter{cuts: []int{half}}, ";bytes=100000-"},
		{"cut at once", cutter{cuts: []int{0}}, ";"},
		{"cut before the last byte", cutter{cuts: []int{length - 1}}, ";bytes=199999-"},
		{"several", cutter{cuts: []int{10, 10, 10, 10, 10}}, ";bytes=10-;bytes=20-;bytes=30-;bytes=40-;bytes=50-"},
		{"more, with progress", cutter{cuts: []int{1, 1, 1, 70000, 1, 1, 1, 1}}, ""},
		{"validator", cutter{cuts: []int{half}, etag: `"x"`}, `;bytes=100000- "x"`},
		{"weak validator", cutter{cuts: []int{half}, etag: `W/"x"`}, `;bytes=100000-`},
		{"no ranges", cutter{cuts: []int{half}, ranges: func(http.ResponseWriter, *http.Request) bool { return false }}, `;bytes=100000-`},
		{"no ranges, cut while skipping", cutter{cuts: []int{half, 10}, ranges: func(http.ResponseWriter, *http.Request) bool { return false }}, `;bytes=100000-;bytes=100000-`},
		{"unknown total", cutter{cuts: []int{half}, ranges: func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", "bytes 100000-199999/*")
			return true
		}}, `;bytes=100000-`},
	} {
		for _, url := range []string{"http://r.lab.test", "https://r.lab.test"} {
			t.Run(tc.name+" "+url, func(t *testing.T) {
				inNetwork(t, func(t *testing.T, n *network) {
					c := tc.c
					c.data = content()
					got, b, err := blob(t, n, url, &c)
					if err != nil || got != c.data || b.Size() != length {
						t.Fatalf("%d bytes, %v", len(got), err)
					}
					if asked := strings.Join(c.asked, ";"); tc.asked != "" && strings.Trim(asked, ";") != strings.Trim(tc.asked, ";") {
						t.Errorf("asked for %q", asked)
					}
				})
			})
		}
	}
}

func TestNoResume(t *testing.T) {
	ranged := func(s string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", s)
			return true
		}
	}
	for _, tc := range []struct {
		name   string
		c      cutter
		status int
		text   string
		tries  int
	}{
		{"no progress", cutter{cuts: []int{half, 0, 0, 0, 0, 0, 0, 0, 0}}, 0, "cut after 100000 of 200000 bytes", 6},
		{"hardly any", cutter{cuts: []int{half, 9, 9, 9, 9, 9, 9, 9, 9}}, 0, "cut after 100045 of 200000 bytes", 6},
		{"no range said", cutter{cuts: []int{half}, ranges: ranged("")}, 206, "not said which", 2},
		{"another range", cutter{cuts: []int{half}, ranges: ranged("bytes 0-199999/200000")}, 206, "from 100000 on", 2},
		{"another size", cutter{cuts: []int{half}, ranges: ranged("bytes 100000-200000/200001")}, 206, "now 200001", 2},
		{"nonsense", cutter{cuts: []int{half}, ranges: ranged("bytes 100000-9/200000")}, 206, "not said which", 2},
		{"shorter as a whole", cutter{cuts: []int{half}, ranges: func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "5")
			return false
		}}, 200, "now 5", 2},
		{"gone", cutter{cuts: []int{half}, ranges: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(404)
			return false
		}}, 404, "404", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				c := tc.c
				c.data = content()
				got, b, err := blob(t, n, "http://r.lab.test", &c)
				var e *Error
				if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(err.Error(), tc.text) || len(c.asked) != tc.tries {
					t.Errorf("%v after %d tries; want %d, %q, %d", err, len(c.asked), tc.status, tc.text, tc.tries)
				}
				if !strings.HasPrefix(c.data, got) || len(got) < half {
					t.Errorf("%d bytes came", len(got))
				}
				if n, again := b.Read(make([]byte, 10)); n != 0 || again != err {
					t.Errorf("then %d, %v", n, again)
				}
			})
		})
	}
}

// An answer may have less than the rest.
func TestRestInParts(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		c := &cutter{data: content(), cuts: []int{half}}
		got, _, err := blob(t, n, "http://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var off int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off); err != nil {
				c.ServeHTTP(w, r)
				return
			}
			end := min(off+30_000, length)
			status(206, c.data[off:end], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, end-1, length))(w, r)
		}))
		if err != nil || got != c.data {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// What comes after Close is closed.
func TestReplaceAfterClose(t *testing.T) {
	r, err := New(Options{Name: "quay.io"})
	if err != nil {
		t.Fatal(err)
	}
	late := &closeOnly{}
	b := &Body{registry: r, cancel: func() {}, body: http.NoBody}
	b.Close()
	if err := b.replace(late); !errors.Is(err, fs.ErrClosed) || !late.closed {
		t.Errorf("%v, closed %v", err, late.closed)
	}
}

type closeOnly struct {
	io.Reader
	closed bool
}

func (c *closeOnly) Close() error { c.closed = true; return nil }

// A size that nobody says is learned from a range.
func TestUnknownSize(t *testing.T) {
	for _, cuts := range [][]int{nil, {half}} {
		inNetwork(t, func(t *testing.T, n *network) {
			c := &cutter{data: content(), cuts: cuts}
			first := true
			got, _, err := blob(t, n, "http://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if first {
					w.(http.Flusher).Flush() // chunked, then
				}
				first = false
				c.ServeHTTP(w, r)
			}))
			if err != nil || got != c.data {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// Who is patient waits for a network that is gone for a while, in the midst of a blob, but not for ever.
func TestOutage(t *testing.T) {
	for _, tc := range []struct {
		patient bool
		lasts   time.Duration
		fault   error
		ok      bool
	}{
		{true, 10 * time.Second, syscall.ENETUNREACH, true}, {true, 30 * time.Second, os.ErrDeadlineExceeded, true},
		{true, time.Hour, syscall.ENETUNREACH, false}, {true, time.Hour, os.ErrDeadlineExceeded, false}, {false, 10 * time.Second, syscall.ENETUNREACH, false},
		{true, 10 * time.Second, nil, true}, {true, time.Hour, nil, false},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				var back time.Time
				c := &cutter{data: content(), cuts: []int{half}}
				n.serve("r.lab.test:80", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if back.IsZero() {
						back = time.Now().Add(tc.lasts)
					} else if time.Now().Before(back) {
						w.WriteHeader(http.StatusBadGateway) // where it is the registry alone that is gone
						return
					}
					c.ServeHTTP(w, r)
				})
				r := n.open(Options{Name: "lab", URL: "http://r.lab.test", Patient: tc.patient})
				r.wire.connect = func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
					if tc.fault == nil || !time.Now().Before(back) {
						return n.connect(ctx, d, network, addr)
					}
					if tc.fault == os.ErrDeadlineExceeded {
						time.Sleep(dialTimeout)
					}
					return nil, &net.OpError{Op: "dial", Net: network, Err: tc.fault}
				}
				b, err := r.Blob(t.Context(), "a", hashOf(c.data))
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				start := time.Now()
				got, err := io.ReadAll(b)
				if took := time.Since(start); (err == nil) != tc.ok || tc.ok && string(got) != c.data || took > 2*time.Minute {
					t.Errorf("%d bytes after %v: %v", len(got), took, err)
				}
			})
		})
	}
}

// A body that stalls counts as cut.
func TestStall(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		c := &cutter{data: content()}
		first := true
		start := time.Now()
		got, _, err := blob(t, n, "https://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !first {
				c.ServeHTTP(w, r)
				return
			}
			first = false
			w.Header().Set("Content-Length", fmt.Sprint(length))
			io.WriteString(w, c.data[:half])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		if took := time.Since(start); err != nil || got != c.data || took < stallTimeout || took > stallTimeout+5*time.Second {
			t.Errorf("%d bytes, %v after %v", len(got), err, took)
		}
	})
}

// A reader that takes its time is not a stall of the registry's.
func TestSlowReader(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		c := &cutter{data: content()}
		n.serve("r.lab.test:80", "9.9.9.9", c.ServeHTTP)
		b, err := n.open(Options{Name: "lab", URL: "http://r.lab.test"}).Blob(t.Context(), "a", hashOf(c.data))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		buf := make([]byte, half/2)
		for range 4 {
			time.Sleep(time.Hour)
			if _, err := io.ReadFull(b, buf); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.asked) != 1 {
			t.Error(c.asked)
		}
	})
}

// The body never has more than its size, and the end of it is seen without asking for more.
func TestSizes(t *testing.T) {
	for _, data := range []string{"", "x", content()} {
		inNetwork(t, func(t *testing.T, n *network) {
			c := &cutter{data: data}
			got, b, err := blob(t, n, "http://r.lab.test", c)
			if err != nil || got != data || b.Size() != int64(len(data)) || len(c.asked) != 1 {
				t.Errorf("%d bytes of %d, %v", len(got), b.Size(), err)
			}
			size, err := b.registry.Stat(t.Context(), "a", hashOf(data))
			if err != nil || size != int64(len(data)) {
				t.Errorf("size %d, %v", size, err)
			}
		})
	}
}

// A raw server that sends more than it announced changes nothing.
func TestTooLong(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		got, _, err := blob(t, n, "http://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world")
		}))
		if err != nil || got != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestCloseEndsRead(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		for _, url := range []string{"http://r.lab.test", "https://r.lab.test"} {
			h := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "10")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
			n.serve("r.lab.test:80", "9.9.9.9", h)
			n.serve("r.lab.test:443", "9.9.9.9", h)
			r := n.open(Options{Name: "lab", URL: url})
			b, err := r.Blob(t.Context(), "a", hashOf("x"))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() {
				_, err := b.Read(make([]byte, 10))
				done <- err
			}()
			synctest.Wait()
			b.Close()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

// The end of the context is an error of its own.
func TestContextEnds(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.serve("r.lab.test:80", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Length", "10")
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})
		r := n.open(Options{Name: "lab", URL: "http://r.lab.test"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var e *Error
		b, err := r.Blob(ctx, "a", hashOf("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) {
			t.Error(err)
		}
		if _, err := r.Stat(ctx, "a", hashOf("x")); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) {
			t.Error(err)
		}
	})
}

func TestNoBlob(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.serve("r.lab.test:443", "9.9.9.9", status(404, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`))
		r := n.open(Options{Name: "r.lab.test"})
		if _, err := r.Blob(t.Context(), "a", hashOf("x")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "BLOB_UNKNOWN") {
			t.Error(err)
		}
		if _, err := r.Stat(t.Context(), "a", hashOf("x")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if _, err := r.Blob(t.Context(), "a", v1.Hash{}); !errors.Is(err, fs.ErrInvalid) {
			t.Error(err)
		}
	})
}
