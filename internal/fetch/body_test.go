package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
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

func TestResume(t *testing.T) {
	for _, tc := range []struct {
		name  string
		c     memnet.Cutter
		asked string
	}{
		{"no cut", memnet.Cutter{}, ";"},
		{"one cut", memnet.Cutter{Cuts: []int{half}}, ";bytes=100000-"},
		{"cut at once", memnet.Cutter{Cuts: []int{0}}, ";"},
		{"cut before the last byte", memnet.Cutter{Cuts: []int{length - 1}}, ";bytes=199999-"},
		{"several", memnet.Cutter{Cuts: []int{10, 10, 10, 10, 10}}, ";bytes=10-;bytes=20-;bytes=30-;bytes=40-;bytes=50-"},
		{"more, with progress", memnet.Cutter{Cuts: []int{1, 1, 1, 70000, 1, 1, 1, 1}}, ""},
		{"validator", memnet.Cutter{Cuts: []int{half}, Etag: `"x"`}, `;bytes=100000- "x"`},
		{"weak validator", memnet.Cutter{Cuts: []int{half}, Etag: `W/"x"`}, `;bytes=100000-`},
		{"no ranges", memnet.Cutter{Cuts: []int{half}, Ranges: func(http.ResponseWriter, *http.Request) bool { return false }}, `;bytes=100000-`},
		{"no ranges, cut while skipping", memnet.Cutter{Cuts: []int{half, 10}, Ranges: func(http.ResponseWriter, *http.Request) bool { return false }}, `;bytes=100000-;bytes=100000-`},
		{"unknown total", memnet.Cutter{Cuts: []int{half}, Ranges: func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", "bytes 100000-199999/*")
			return true
		}}, `;bytes=100000-`},
	} {
		for _, url := range []string{"http://r.lab.test", "https://r.lab.test"} {
			t.Run(tc.name+" "+url, func(t *testing.T) {
				inNetwork(t, func(t *testing.T, n *network) {
					c := tc.c
					c.Data = content()
					got, b, err := blob(t, n, url, &c)
					if err != nil || got != c.Data || b.Size() != length {
						t.Fatalf("%d bytes, %v", len(got), err)
					}
					if asked := strings.Join(c.Asked, ";"); tc.asked != "" && strings.Trim(asked, ";") != strings.Trim(tc.asked, ";") {
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
		c      memnet.Cutter
		status int
		text   string
		tries  int
	}{
		{"no progress", memnet.Cutter{Cuts: []int{half, 0, 0, 0, 0, 0, 0, 0, 0}}, 0, "cut after 100000 of 200000 bytes", 6},
		{"hardly any", memnet.Cutter{Cuts: []int{half, 9, 9, 9, 9, 9, 9, 9, 9}}, 0, "cut after 100045 of 200000 bytes", 6},
		{"no range said", memnet.Cutter{Cuts: []int{half}, Ranges: ranged("")}, 206, `from 100000 on, the answer is for ""`, 2},
		{"another range", memnet.Cutter{Cuts: []int{half}, Ranges: ranged("bytes 0-199999/200000")}, 206, "from 100000 on", 2},
		{"another size", memnet.Cutter{Cuts: []int{half}, Ranges: ranged("bytes 100000-200000/200001")}, 206, "200001 bytes now", 2},
		{"nonsense", memnet.Cutter{Cuts: []int{half}, Ranges: ranged("bytes 100000-9/200000")}, 206, "from 100000 on", 2},
		{"shorter as a whole", memnet.Cutter{Cuts: []int{half}, Ranges: func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "5")
			return false
		}}, 200, "5 bytes now", 2},
		{"gone", memnet.Cutter{Cuts: []int{half}, Ranges: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(404)
			return false
		}}, 404, "404", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				c := tc.c
				c.Data = content()
				got, b, err := blob(t, n, "http://r.lab.test", &c)
				var e *Error
				if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(err.Error(), tc.text) || len(c.Asked) != tc.tries {
					t.Errorf("%v after %d tries; want %d, %q, %d", err, len(c.Asked), tc.status, tc.text, tc.tries)
				}
				if !strings.HasPrefix(c.Data, got) || len(got) < half {
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
		c := &memnet.Cutter{Data: content(), Cuts: []int{half}}
		got, _, err := blob(t, n, "http://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var off int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off); err != nil {
				c.ServeHTTP(w, r)
				return
			}
			end := min(off+30_000, length)
			status(206, c.Data[off:end], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, end-1, length))(w, r)
		}))
		if err != nil || got != c.Data {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// What comes after Close is closed.
func TestReplaceAfterClose(t *testing.T) {
	late := &closeOnly{}
	b := &Body{cancel: func() {}, body: http.NoBody}
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
			c := &memnet.Cutter{Data: content(), Cuts: cuts}
			first := true
			got, _, err := blob(t, n, "http://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if first {
					w.(http.Flusher).Flush() // chunked, then
				}
				first = false
				c.ServeHTTP(w, r)
			}))
			if err != nil || got != c.Data {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// A body that stalls counts as cut.
func TestStall(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		c := &memnet.Cutter{Data: content()}
		first := true
		start := time.Now()
		got, _, err := blob(t, n, "https://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !first {
				c.ServeHTTP(w, r)
				return
			}
			first = false
			w.Header().Set("Content-Length", fmt.Sprint(length))
			io.WriteString(w, c.Data[:half])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		if took := time.Since(start); err != nil || got != c.Data || took < testSlow.Stall || took > testSlow.Stall+5*time.Second {
			t.Errorf("%d bytes, %v after %v", len(got), err, took)
		}
	})
}

// A reader that takes its time is not a stall of the registry's.
func TestSlowReader(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		c := &memnet.Cutter{Data: content()}
		n.Serve("r.lab.test:80", "9.9.9.9", c.ServeHTTP)
		cl := n.open("http://r.lab.test")
		b, err := cl.Open(t.Context(), file(cl, "a"))
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
		if len(c.Asked) != 1 {
			t.Error(c.Asked)
		}
	})
}

// The body never has more than its size, and the end of it is seen without asking for more.
func TestSizes(t *testing.T) {
	for _, data := range []string{"", "x", content()} {
		inNetwork(t, func(t *testing.T, n *network) {
			c := &memnet.Cutter{Data: data}
			got, b, err := blob(t, n, "http://r.lab.test", c)
			if err != nil || got != data || b.Size() != int64(len(data)) || len(c.Asked) != 1 {
				t.Errorf("%d bytes of %d, %v", len(got), b.Size(), err)
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
			n.Serve("r.lab.test:80", "9.9.9.9", h)
			n.Serve("r.lab.test:443", "9.9.9.9", h)
			c := n.open(url)
			b, err := c.Open(t.Context(), file(c, "a"))
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

func TestRate(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 128<<10) // 2 MiB
	for _, tc := range []struct {
		name  string
		d     memnet.Dripper
		text  string // of the error; "" is none
		asked int
		took  time.Duration // at least, and little more
	}{
		{"a byte now and then", memnet.Dripper{Data: large, Piece: 1, Pause: 7 * time.Second}, "cut after 108 of", 6, 6 * testSlow.Limit},
		{"only at first", memnet.Dripper{Data: large, Piece: 1, Pause: 7 * time.Second, Once: true}, "", 2, testSlow.Limit},
		{"only at first, then cut", memnet.Dripper{Data: large, Piece: 1, Pause: 7 * time.Second, Once: true, Stop: 256 << 10}, "", 9, testSlow.Limit},
		{"nearly enough", memnet.Dripper{Data: large, Piece: 5000, Pause: 1900 * time.Millisecond}, "no byte for 1m0s, or less than 512 KiB in 2m0s", 6, 6 * testSlow.Limit},
		{"enough", memnet.Dripper{Data: large, Piece: 20_000, Pause: 4 * time.Second}, "", 1, 416 * time.Second},
		{"cut before it is too slow", memnet.Dripper{Data: large, Piece: testProgress, Pause: 59 * time.Second, Stop: testProgress}, "cut after", 6, 6 * 59 * time.Second},
	} {
		for _, url := range []string{"http://r.lab.test", "https://r.lab.test"} {
			t.Run(tc.name+" "+url, func(t *testing.T) {
				inNetwork(t, func(t *testing.T, n *network) {
					start := time.Now()
					d := tc.d
					got, _, err := blob(t, n, url, &d)
					if took := time.Since(start); d.Asked != tc.asked || took < tc.took || took > tc.took+time.Minute {
						t.Errorf("asked %d times in %v; want %d in %v", d.Asked, took, tc.asked, tc.took)
					}
					var e *Error
					if tc.text == "" && (err != nil || got != large) || tc.text != "" && (!errors.As(err, &e) || !strings.Contains(err.Error(), tc.text)) {
						t.Errorf("%d bytes, %v; want %q", len(got), err, tc.text)
					}
				})
			})
		}
	}
}

// Cuts do not make a slow server faster.
func TestProgress(t *testing.T) {
	b, limit := int64(testSlow.Bytes), testSlow.Limit
	for _, tc := range []struct {
		came   int64
		waited time.Duration
		want   bool
	}{
		{testProgress, 0, true}, {testProgress - 1, 0, false}, {0, 0, false}, {b, limit, true}, {b - 1, limit, false},
		{testProgress, time.Minute, false}, {100 * b, 100 * limit, true},
	} {
		b := &Body{file: File{Progress: testProgress}, slow: testSlow, off: 77 + tc.came, mark: 77, waited: tc.waited}
		if got := b.progressed(); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
}

// What comes after a cut is not the rest of the file, unless the reader knows its digest.
func TestChangedFile(t *testing.T) {
	for name, header := range map[string][3]string{
		"another tag": {"Etag", `"1"`, `"2"`}, "another date": {"Last-Modified", "Fri, 02 Jan 2026 03:04:15 GMT", "Fri, 02 Jan 2026 03:04:16 GMT"},
		"the same": {"Etag", `"1"`, `"1"`}, "another encoding": {"Content-Encoding", "x", "y"},
	} {
		for _, digested := range []bool{true, false} {
			inNetwork(t, func(t *testing.T, n *network) {
				c := &memnet.Cutter{Data: content(), Cuts: []int{half}}
				h := func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set(header[0], header[min(1+len(c.Asked), 2)])
					c.ServeHTTP(w, r)
				}
				got, _, err := blob(t, n, "http://r.lab.test", http.HandlerFunc(h), func(f *File) { f.Digested = digested })
				ok := name == "the same" || digested && name != "another encoding"
				if (err == nil) != ok || ok && got != c.Data || !ok && (!errors.Is(err, ErrChanged) || got != c.Data[:half]) {
					t.Errorf("%s, digested %v: %d bytes, %v", name, digested, len(got), err)
				}
			})
		}
	}
}

// The bound holds whether the size is said or not.
func TestLimit(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if chunked {
					w.(http.Flusher).Flush()
				}
				io.WriteString(w, content())
			})
			got, _, err := blob(t, n, "http://r.lab.test", h, func(f *File) { f.Limit = half })
			if !errors.Is(err, ErrTooLarge) || len(got) > half {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}
