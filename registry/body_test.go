package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/oci"
)

// A recorder is a ResponseWriter that notes how bytes reach it, as net/http's own would get them.
type recorder struct {
	http.ResponseWriter
	calls []string // "deadline", "write" or "file", in order
	body  bytes.Buffer
}

func (r *recorder) Header() http.Header { return http.Header{} }
func (r *recorder) WriteHeader(int)     {}

func (r *recorder) SetWriteDeadline(time.Time) error {
	r.calls = append(r.calls, "deadline")
	return nil
}

func (r *recorder) Write(p []byte) (int, error) {
	r.calls = append(r.calls, "write")
	return r.body.Write(p)
}

func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	call := "other"
	if lr, ok := src.(*io.LimitedReader); ok {
		if _, ok := lr.R.(*os.File); ok && lr.N <= chunk {
			call = "file"
		}
	}
	r.calls = append(r.calls, call)
	return r.body.ReadFrom(src)
}

// net/http reaches sendfile only for an *io.LimitedReader over an *os.File; a piece of a file must arrive as such,
// in chunks, with the deadline moved before each.
func TestSendfile(t *testing.T) {
	const header, size = 512, 2*chunk + 5000
	data := pattern(header + size)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, data[header:], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string]int{"after other bytes": header, "first": 0} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w := &recorder{}
			h := &Handler{Source: blobSource(writerBlob{int64(first + size), func(_ context.Context, w io.Writer, _, _ int64) error {
				if _, err := w.Write(data[:first]); err != nil {
					return err
				}
				_, err := io.Copy(w, io.LimitReader(f, size))
				return err
			}})}
			h.ServeHTTP(w, httptest.NewRequest("GET", blobPath, nil))
			// The header, then 512 bytes through memory in both cases, then the file.
			want := "deadline deadline write deadline file deadline file deadline file"
			if got := strings.Join(w.calls, " "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if !bytes.Equal(w.body.Bytes(), data[header-first:]) {
				t.Error("the bytes are not the file's")
			}
		})
	}
}

// Long writes, and readers that are no files, are cut into chunks as well, and end where the blob ends.
func TestProgressOfMemory(t *testing.T) {
	data := pattern(2*chunk + 10)
	w := &recorder{}
	h := &Handler{Source: blobSource(oci.Bytes(data))}
	h.ServeHTTP(w, httptest.NewRequest("GET", blobPath, nil))
	if got := strings.Join(w.calls, " "); got != "deadline deadline write deadline write deadline write" || !bytes.Equal(w.body.Bytes(), data) {
		t.Errorf("memory: %s", got)
	}
	h = &Handler{Source: blobSource(writerBlob{int64(len(data)), func(_ context.Context, w io.Writer, _, _ int64) error {
		_, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(data)})
		return err
	}})}
	w = &recorder{}
	h.ServeHTTP(w, httptest.NewRequest("GET", blobPath, nil))
	if !bytes.Equal(w.body.Bytes(), data) || strings.Count(strings.Join(w.calls, " "), "deadline") < len(w.calls)/2 {
		t.Errorf("reader: %s", w.calls)
	}
}

// response is an io.ReaderFrom for any source and over any writer.
func TestResponseReadFrom(t *testing.T) {
	data := pattern(chunk + 1000)
	for name, src := range map[string]io.Reader{
		"reader":         bytes.NewReader(data),
		"limited":        io.LimitReader(bytes.NewReader(data), int64(len(data))),
		"limited beyond": io.LimitReader(bytes.NewReader(data), int64(3*len(data))),
	} {
		inner := httptest.NewRecorder()
		w := newResponse(inner, "GET", time.Minute)
		n, err := w.ReadFrom(src)
		if n != int64(len(data)) || err != nil || !bytes.Equal(inner.Body.Bytes(), data) || w.written != n || w.status != 200 {
			t.Errorf("%s: %d bytes, status %d, %v", name, n, w.status, err)
		}
		if lr, ok := src.(*io.LimitedReader); ok && name == "limited" && lr.N != 0 {
			t.Errorf("%s: %d bytes left in the reader", name, lr.N)
		}
		if err := http.NewResponseController(w).Flush(); err != nil || !inner.Flushed {
			t.Errorf("%s: flush does not reach the inner writer: %v", name, err)
		}
	}
}

// A real file over a real connection.
func TestFileBlob(t *testing.T) {
	data := pattern(3 << 20)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&Handler{Source: blobSource(writerBlob{int64(len(data)),
		func(_ context.Context, w io.Writer, off, n int64) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Seek(off, io.SeekStart); err != nil {
				return err
			}
			_, err = io.Copy(w, io.LimitReader(f, n))
			return err
		}})})
	defer srv.Close()
	for _, c := range []struct {
		header   string
		from, to int
	}{{"", 0, len(data)}, {"bytes=0-99", 0, 100}, {"bytes=1000000-", 1000000, len(data)}, {"bytes=-511", len(data) - 511, len(data)}} {
		r, err := http.NewRequest("GET", srv.URL+blobPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			r.Header.Set("Range", c.header)
		}
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(body, data[c.from:c.to]) {
			t.Errorf("%q: %d bytes, %v", c.header, len(body), err)
		}
	}
}

// stuck serves an endless-seeming blob and reports how its WriteRange ended.
func stuck(book *logbook, progress time.Duration, write func(w io.Writer) error) (*httptest.Server, chan error) {
	ended := make(chan error, 1)
	return httptest.NewServer(&Handler{
		Log: book.logger(slog.LevelDebug), Progress: progress,
		Source: blobSource(writerBlob{1 << 50, func(_ context.Context, w io.Writer, _, _ int64) error {
			err := write(w)
			ended <- err
			return err
		}}),
	}), ended
}

func forever(w io.Writer) error {
	for {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
}

func zeros(w io.Writer) error {
	f, err := os.Open("/dev/zero")
	if err != nil {
		return forever(w)
	}
	defer f.Close()
	_, err = io.Copy(w, io.LimitReader(f, 1<<50))
	return err
}

// A client that leaves its connection open but unread does not hold the blob for ever.
func TestStalledClientIsCut(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{"memory": forever, "file": zeros} {
		t.Run(name, func(t *testing.T) {
			var book logbook
			srv, ended := stuck(&book, 50*time.Millisecond, write)
			defer srv.Close()
			conn := request(t, srv)
			defer conn.Close()
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write ended with %v", err)
			}
			srv.Close()
			if log := book.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, "took nothing for too long") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestClientLeaves(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{"memory": forever, "file": zeros} {
		t.Run(name, func(t *testing.T) {
			var book logbook
			srv, ended := stuck(&book, 0, write)
			defer srv.Close()
			request(t, srv).Close()
			if err := <-ended; err == nil {
				t.Error("write ended without an error")
			}
			srv.Close()
			if log := book.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=INFO") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// request asks for the blob and reads nothing.
func request(t *testing.T, srv *httptest.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET "+blobPath+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A brokenWriter is a client's connection that fails after its first bytes.
type brokenWriter struct{ recorder }

func (*brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

// Only what the client did is kept out of the log; a fault of the source is told even if the client has left, too.
func TestWhoseFault(t *testing.T) {
	for _, c := range []struct {
		name, level string
		w           http.ResponseWriter
		write       func(ctx context.Context, w io.Writer, leave func()) error
	}{
		{"connection broke", "DEBUG", &brokenWriter{}, func(_ context.Context, w io.Writer, _ func()) error {
			_, err := w.Write([]byte("1"))
			return err
		}},
		{"source noticed that the client left", "DEBUG", &recorder{}, func(ctx context.Context, w io.Writer, leave func()) error {
			_, err := w.Write([]byte("1"))
			leave()
			return errors.Join(err, ctx.Err())
		}},
		{"source failed, client left", "ERROR", &recorder{}, func(_ context.Context, w io.Writer, leave func()) error {
			_, err := w.Write([]byte("1"))
			leave()
			return errors.Join(err, errors.New("disk on fire"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var book logbook
			h := &Handler{Log: book.logger(slog.LevelDebug), Source: blobSource(writerBlob{10,
				func(ctx context.Context, w io.Writer, _, _ int64) error { return c.write(ctx, w, cancel) }})}
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("panic with %v", v)
				}
				first, _, _ := strings.Cut(book.String(), "\n")
				if !strings.Contains(first, "level="+c.level) || !strings.Contains(first, "err=") {
					t.Errorf("log: %s", book.String())
				}
			}()
			h.ServeHTTP(c.w, httptest.NewRequestWithContext(ctx, "GET", blobPath, nil))
		})
	}
}
