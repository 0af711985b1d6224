package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func readAll(t *testing.T, c *fake, name string) ([]byte, error) {
	t.Helper()
	r, err := c.Open(t.Context(), name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// A server that cuts each answer after some bytes, and how it tells one version of a file from the next.
func TestResume(t *testing.T) {
	data := content(300_000)
	for name, h := range map[string]struct {
		header http.Header
		ranges bool
		length bool
		want   string // If-Range
	}{
		"etag":                   {http.Header{"Etag": {`"v1"`}, "Last-Modified": {"Fri, 02 Jan 2026 03:04:15 GMT"}}, true, true, `"v1"`},
		"date":                   {http.Header{"Last-Modified": {"Fri, 02 Jan 2026 03:04:15 GMT"}}, true, true, "Fri, 02 Jan 2026 03:04:15 GMT"},
		"weak":                   {http.Header{"Etag": {`W/"v1"`}}, true, true, ""},
		"nothing but its length": {nil, true, true, ""},
		"no length":              {http.Header{"Etag": {`"v1"`}}, true, false, `"v1"`},
		"no ranges":              {http.Header{"Etag": {`"v1"`}}, false, true, `"v1"`},
		"no ranges, no length":   {http.Header{"Etag": {`"v1"`}}, false, false, `"v1"`},
		"no ranges, length only": {nil, false, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
				for k, v := range h.header {
					w.Header()[k] = v
				}
				from := 0
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n > 1 && (err != nil || r.Header.Get("If-Range") != h.want) {
					t.Errorf("request %d: %v", n, r.Header)
				}
				end := min(len(data), 50_000*n) // each gets a little further
				if !h.ranges {
					from = 0
				}
				if h.length {
					w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
				}
				if h.ranges && n > 1 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
					w.WriteHeader(http.StatusPartialContent)
				}
				w.Write(data[from:max(from, end)])
				if end < len(data) {
					cut(w)
				}
			})
			c := client(t, s.URL)
			got, err := readAll(t, c, "x")
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d of %d bytes: %v", len(got), len(data), err)
			}
			if len(c.slept) == 0 {
				t.Error("no cut was noticed")
			}
		})
	}
}

// What comes after a cut is not the rest of the file.
func TestResumeRefuses(t *testing.T) {
	data := content(100_000)
	partial := func(from int, total, etag string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", from, len(data)-1, total))
			w.Header().Set("ETag", etag)
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[from:])
		}
	}
	status := func(code int, etag, body string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		second func(w http.ResponseWriter)
		want   string
	}{
		"another tag, 206":    {partial(50_000, "100000", `"v2"`), "changed"},
		"another tag, 200":    {status(200, `"v2"`, string(data)), "changed"},
		"another length, 206": {partial(50_000, "100001", `"v1"`), "changed"},
		"another length, 200": {status(200, `"v1"`, string(data)+"x"), "changed"},
		"another place":       {partial(49_999, "100000", `"v1"`), "asked for the bytes from 50000 on"},
		"no range":            {func(w http.ResponseWriter) { status(206, `"v1"`, "x")(w) }, "asked for the bytes from 50000 on"},
		"416":                 {status(416, "", ""), "changed"},
		"404":                 {status(404, "", ""), "404"},
		"401":                 {status(401, "", ""), "401"},
		"encoded": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			partial(50_000, "100000", `"v1"`)(w)
		}, "changed"},
	} {
		s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n > 1 {
				c.second(w)
				return
			}
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:50_000])
			cut(w)
		})
		f := client(t, s.URL)
		got, err := readAll(t, f, "x")
		if err == nil || !strings.Contains(err.Error(), c.want) || !bytes.Equal(got, data[:len(got)]) || len(got) > 50_000 || len(f.slept) != 1 {
			t.Errorf("%s: %d bytes, slept %v: %v", name, len(got), f.slept, err)
		}
	}
}

// Nothing tells whether the file is the same after the cut.
func TestResumeUnknown(t *testing.T) {
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		w.Write(content(100_000))
		cut(w)
	})
	if _, err := readAll(t, client(t, s.URL), "x"); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "same file") {
		t.Error(err)
	}
}

// Five tries in a row bring nothing, and bytes in between begin the count anew.
func TestCutsInARow(t *testing.T) {
	data := content(100_000)
	last := 0
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		last = n
		w.Header().Set("ETag", `"v1"`)
		switch from := 0; {
		case n == 5:
			w.Write(data[:10_000])
			cut(w)
		case n == 6 || n == 7 || n == 8 || n == 10 || n == 11:
			w.WriteHeader(http.StatusServiceUnavailable)
		case n == 9:
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[from : from+progress])
			cut(w)
		default:
			cut(w)
		}
	})
	_, err := readAll(t, client(t, s.URL), "x")
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "5 tries") || last != 13 {
		t.Errorf("after %d requests: %v", last, err)
	}
}

// Hardly any bytes are no progress.
func TestHardlyAny(t *testing.T) {
	data := content(100_000)
	last := 0
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		last = n
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.WriteHeader(map[bool]int{true: http.StatusOK, false: http.StatusPartialContent}[n == 1])
		w.Write(data[from : from+progress-1])
		cut(w)
	})
	got, err := readAll(t, client(t, s.URL), "x")
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "5 tries") || last != 5 || !bytes.Equal(got, data[:5*(progress-1)]) {
		t.Errorf("%d bytes after %d requests: %v", len(got), last, err)
	}
}

// Whoever closes a body, or ends its context, does not wait for the server.
func TestGiveUp(t *testing.T) {
	begun := make(chan struct{}, 2)
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 100))
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	})
	c := client(t, s.URL)
	for _, end := range []func(cancel func(), r io.Closer){
		func(cancel func(), _ io.Closer) { cancel() },
		func(_ func(), r io.Closer) { r.Close() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := c.Open(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, r)
			done <- err
		}()
		end(cancel, r)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.Close()
		cancel()
	}
	if len(c.slept) > 0 {
		t.Errorf("slept %v", c.slept)
	}
}

// An answer that has less of the rest than it could is continued, too.
func TestShortRanges(t *testing.T) {
	data := content(100_000)
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:30_000])
			cut(w)
		}
		end := min(from+30_000, len(data))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, end-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[from:end])
	})
	if got, err := readAll(t, client(t, s.URL), "x"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

// The limit holds where no length is said.
func TestGetIfEndless(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 4096); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	a, err := client(t, s.URL).GetIf(t.Context(), "x", "", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if n, err := io.Copy(io.Discard, a.Body); !errors.Is(err, store.ErrTooLarge) || n > 100_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
