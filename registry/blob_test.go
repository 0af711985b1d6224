package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/cases"
	"github.com/nixreg/nixreg/internal/oci"
)

const blobPath = "/v2/a/blobs/" + sha256

// pattern is n bytes, each unlike its neighbours.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func TestBlob(t *testing.T) {
	data := pattern(2048)
	h := &Handler{Source: blobSource(oci.Bytes(data))}
	tag := `"` + sha256 + `"`
	all := string(data)
	for _, c := range []struct {
		name         string
		method       string
		header       http.Header
		status       int
		contentRange string
		body         string
	}{
		{"whole", "GET", nil, 200, "", all},
		{"head", "HEAD", nil, 200, "", ""},
		{"first to last", "GET", http.Header{"Range": {"bytes=500-1499"}}, 206, "bytes 500-1499/2048", all[500:1500]},
		{"open", "GET", http.Header{"Range": {"bytes=500-"}}, 206, "bytes 500-2047/2048", all[500:]},
		{"suffix", "GET", http.Header{"Range": {"bytes=-500"}}, 206, "bytes 1548-2047/2048", all[1548:]},
		{"clipped", "GET", http.Header{"Range": {"bytes=2000-5000"}}, 206, "bytes 2000-2047/2048", all[2000:]},
		{"backwards", "GET", http.Header{"Range": {"bytes=500-0"}}, 416, "bytes */2048", "error"},
		{"beyond", "GET", http.Header{"Range": {"bytes=5000-10000"}}, 416, "bytes */2048", "error"},
		{"several", "GET", http.Header{"Range": {"bytes=0-1,3-4"}}, 200, "", all},
		{"malformed", "GET", http.Header{"Range": {"bytes=x"}}, 200, "", all},
		{"head with range", "HEAD", http.Header{"Range": {"bytes=0-1"}}, 200, "", ""},
		{"head with bad range", "HEAD", http.Header{"Range": {"bytes=9000-"}}, 200, "", ""},
		{"If-Range", "GET", http.Header{"Range": {"bytes=0-1"}, "If-Range": {tag}}, 206, "bytes 0-1/2048", all[:2]},
		{"If-Range, other", "GET", http.Header{"Range": {"bytes=0-1"}, "If-Range": {`"x"`}}, 200, "", all},
		{"If-None-Match", "GET", http.Header{"If-None-Match": {tag}}, 304, "", ""},
		{"If-None-Match on head", "HEAD", http.Header{"If-None-Match": {"*"}}, 304, "", ""},
		{"If-None-Match before Range", "GET", http.Header{"If-None-Match": {tag}, "Range": {"bytes=9000-"}}, 304, "", ""},
		{"If-None-Match, other", "GET", http.Header{"If-None-Match": {`"x"`}, "Range": {"bytes=0-0"}}, 206, "bytes 0-0/2048", all[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := ask(h, c.method, blobPath, c.header)
			if res.StatusCode != c.status || res.Header.Get("Content-Range") != c.contentRange {
				t.Errorf("got %d %q", res.StatusCode, res.Header.Get("Content-Range"))
			}
			if c.body == "error" {
				if e := errorsOf(t, res, body); e.Code != "RANGE_INVALID" || res.Header.Get("Etag") != "" {
					t.Errorf("got %s with %v", body, res.Header)
				}
				return
			}
			if body != c.body {
				t.Errorf("body of %d bytes is not what was asked for", len(body))
			}
			length := fmt.Sprint(len(c.body))
			if c.method == "HEAD" {
				length = "2048"
			}
			checkBlobHeader(t, res, length)
		})
	}
}

func checkBlobHeader(t *testing.T, res *http.Response, length string) {
	t.Helper()
	want := map[string]string{
		"Docker-Content-Digest": sha256,
		"Etag":                  `"` + sha256 + `"`,
		"Cache-Control":         "public, max-age=31536000, immutable",
		"Accept-Ranges":         "bytes",
		"Content-Type":          "application/octet-stream",
		"Content-Length":        length,
	}
	if res.StatusCode == 304 {
		want["Content-Type"], want["Content-Length"] = "", ""
	}
	for name, value := range want {
		if got := res.Header.Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
}

func TestEmptyBlob(t *testing.T) {
	h := &Handler{Source: blobSource(writerBlob{0, nil})} // a call of WriteRange would panic
	for _, header := range []http.Header{nil, {"Range": {"bytes=0-"}}, {"Range": {"bytes=-1"}}} {
		for _, method := range []string{"GET", "HEAD"} {
			res, body := ask(h, method, blobPath, header)
			if res.StatusCode != 200 || body != "" {
				t.Errorf("%s %v: got %d %q", method, header, res.StatusCode, body)
			}
			checkBlobHeader(t, res, "0")
		}
	}
}

// What fails before the first byte gets a proper error, with nothing of the blob's header.
func TestBlobEarlyError(t *testing.T) {
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name   string
		write  func(ctx context.Context, w io.Writer, off, n int64) error
		status int
	}{
		{"missing", func(context.Context, io.Writer, int64, int64) error {
			return fmt.Errorf("open: %w", fs.ErrNotExist)
		}, 404},
		{"unknown", func(context.Context, io.Writer, int64, int64) error { return errors.New("disk on fire") }, 500},
		{"nothing written", func(context.Context, io.Writer, int64, int64) error { return nil }, 500},
		{"empty write", func(_ context.Context, w io.Writer, _, _ int64) error {
			_, err := w.Write(nil)
			return errors.Join(err, errors.New("disk on fire"))
		}, 500},
		{"too long at once", func(_ context.Context, w io.Writer, _, n int64) error {
			_, err := w.Write(make([]byte, n+1))
			return err
		}, 500},
		{"too long, error not returned", func(_ context.Context, w io.Writer, _, n int64) error {
			_, _ = w.Write(make([]byte, n+1))
			return nil
		}, 500},
		{"file that cannot be read", func(_ context.Context, w io.Writer, _, n int64) error {
			_, err := io.Copy(w, io.LimitReader(closed, n))
			return err
		}, 500},
		{"negative size", nil, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := writerBlob{1000, c.write}
			if c.write == nil {
				b.size = -1
			}
			res, body := ask(&Handler{Source: blobSource(b)}, "GET", blobPath, http.Header{"Range": {"bytes=1-"}})
			if e := errorsOf(t, res, body); res.StatusCode != c.status || e.Code == "" {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, c.status)
			}
			for _, name := range []string{"Docker-Content-Digest", "Etag", "Cache-Control", "Content-Range", "Accept-Ranges"} {
				if got := res.Header.Get(name); got != "" {
					t.Errorf("error has %s: %s", name, got)
				}
			}
		})
	}
}

// A body that goes wrong after its first byte ends too early: the client never takes it for the whole.
func TestBlobCutShort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(file, pattern(5000), 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 100_000
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, pattern(size+10), 0o600); err != nil {
		t.Fatal(err)
	}
	copyOf := func(file string, n int64) func(io.Writer) error {
		return func(w io.Writer) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(w, io.LimitReader(f, n))
			return err
		}
	}
	for name, write := range map[string]func(w io.Writer) error{
		"error": func(w io.Writer) error {
			_, err := w.Write(pattern(5000))
			return errors.Join(err, errors.New("disk on fire"))
		},
		"error at the end": func(w io.Writer) error {
			_, err := w.Write(pattern(size))
			return errors.Join(err, errors.New("changed on disk"))
		},
		"too few": func(w io.Writer) error {
			_, err := w.Write(pattern(5000))
			return err
		},
		"too many": func(w io.Writer) error {
			_, err := w.Write(pattern(size - 10))
			_, err2 := w.Write(pattern(11))
			return errors.Join(err, err2)
		},
		"panic": func(w io.Writer) error {
			_, err := w.Write(pattern(5000))
			panic(fmt.Sprint("half way ", err))
		},
		"file became shorter": copyOf(file, size),
		"file too long":       copyOf(long, size+10),
	} {
		t.Run(name, func(t *testing.T) {
			var book logbook
			srv := httptest.NewServer(&Handler{
				Log: book.logger(slog.LevelInfo),
				Source: blobSource(writerBlob{size, func(_ context.Context, w io.Writer, _, _ int64) error {
					return write(w)
				}}),
			})
			defer srv.Close()
			res, err := srv.Client().Get(srv.URL + blobPath)
			if err != nil {
				return // cut before the first byte left the buffer: as good
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if res.StatusCode != 200 || res.ContentLength != size || !bytes.HasPrefix(pattern(size), body) {
				t.Errorf("got %d, length %d, %d bytes", res.StatusCode, res.ContentLength, len(body))
			}
			// All the bytes may be out when the last check of a blob fails; any other body must be short.
			if !errors.Is(err, io.ErrUnexpectedEOF) && name != "error at the end" {
				t.Errorf("got %d bytes and the error %v", len(body), err)
			}
			srv.Close() // waits for the handler
			if log := book.String(); strings.Count(log, "level=ERROR") != 1 {
				t.Errorf("want one error logged: %s", log)
			}
		})
	}
}

// A blob is asked for in its repository, with the request's context, and for no more than its size if no more is needed.
func TestBlobQuestion(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "mark")
	asked := ""
	h := &Handler{Source: fake{blob: func(ctx context.Context, r BlobRequest) (Blob, error) {
		asked = fmt.Sprint(r.Repository, " ", r.Digest, " ", r.Head, " ", ctx.Value(key{}))
		return oci.Bytes("x"), nil
	}}}
	for _, c := range []struct{ method, has, head string }{
		{"GET", "", "false"}, {"HEAD", "", "true"}, {"GET", `"` + sha256 + `"`, "true"}, {"GET", `"other"`, "false"},
	} {
		r := httptest.NewRequestWithContext(ctx, c.method, "/v2/a/b/blobs/"+sha256, nil)
		r.Header.Set("If-None-Match", c.has)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if want := "a/b " + sha256 + " " + c.head + " mark"; asked != want {
			t.Errorf("%s asked for %s, want %s", c.method, asked, want)
		}
	}
}

// TestCaseD3SeveralRanges: several ranges are answered with these alone, each with its place; too many, or more than the blob,
// with the blob.
func TestCaseD3SeveralRanges(t *testing.T) {
	cases.Open(t, "D3")
	data := pattern(2048)
	h := &Handler{Source: blobSource(oci.Bytes(data))}
	for ranges, want := range map[string][][2]int{
		"0-1,3-4":         {{0, 1}, {3, 4}},
		"1000-1099, 0-9":  {{1000, 1099}, {0, 9}},
		"0-0,-10":         {{0, 0}, {2038, 2047}},
		"0-9,2000-,5000-": {{0, 9}, {2000, 2047}},
		"0-9,100-199,-1":  {{0, 9}, {100, 199}, {2047, 2047}},
	} {
		res, body := ask(h, "GET", blobPath, http.Header{"Range": {"bytes=" + ranges}})
		mediaType, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
		if res.StatusCode != 206 || err != nil || mediaType != "multipart/byteranges" || res.Header.Get("Content-Range") != "" {
			t.Errorf("%s: %d, %v", ranges, res.StatusCode, res.Header)
			continue
		}
		if got := res.Header.Get("Content-Length"); got != fmt.Sprint(len(body)) {
			t.Errorf("%s: %d bytes, and Content-Length is %s", ranges, len(body), got)
		}
		parts := multipart.NewReader(strings.NewReader(body), params["boundary"])
		for _, w := range want {
			p, err := parts.NextPart()
			if err != nil {
				t.Errorf("%s: %v", ranges, err)
				break
			}
			b, err := io.ReadAll(p)
			if place := fmt.Sprintf("bytes %d-%d/2048", w[0], w[1]); p.Header.Get("Content-Range") != place || !bytes.Equal(b, data[w[0]:w[1]+1]) {
				t.Errorf("%s: %d bytes of %q, not %s: %v", ranges, len(b), p.Header.Get("Content-Range"), place, err)
			}
		}
		if _, err := parts.NextPart(); err != io.EOF {
			t.Errorf("%s: there are more parts: %v", ranges, err)
		}
	}
	for ranges, status := range map[string]int{ // as today
		"0-1,x": 200, strings.Repeat("0-,", 1000) + "0-": 200, strings.Repeat("0-0,", 10_000) + "0-0": 200,
	} {
		if res, body := ask(h, "GET", blobPath, http.Header{"Range": {"bytes=" + ranges}}); res.StatusCode != status || body != string(data) {
			t.Errorf("%.20s: %d with %d bytes", ranges, res.StatusCode, len(body))
		}
	}
	if res, _ := ask(h, "GET", blobPath, http.Header{"Range": {"bytes=5000-,9000-9001"}}); res.StatusCode != 416 {
		t.Errorf("ranges beyond the end: %d", res.StatusCode)
	}
}
