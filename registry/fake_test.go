package registry

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

// A fake is a Source and a Lister made of functions; those left nil know nothing.
type fake struct {
	manifest func(context.Context, Request) (*v1.Descriptor, error)
	blob     func(context.Context, BlobRequest) (Blob, error)
	tags     func(context.Context, string) ([]string, error)
	names    func(context.Context) ([]string, error)
}

func (f fake) Manifest(ctx context.Context, r Request) (*v1.Descriptor, error) {
	if f.manifest == nil {
		return nil, fmt.Errorf("manifest of %s: %w", r.Repository, fs.ErrNotExist)
	}
	return f.manifest(ctx, r)
}

func (f fake) Blob(ctx context.Context, r BlobRequest) (Blob, error) {
	if f.blob == nil {
		return nil, fmt.Errorf("blob %s of %s: %w", r.Digest, r.Repository, fs.ErrNotExist)
	}
	return f.blob(ctx, r)
}

func (f fake) Tags(ctx context.Context, repository string) ([]string, error) {
	if f.tags == nil {
		return nil, fmt.Errorf("tags of %s: %w", repository, fs.ErrNotExist)
	}
	return f.tags(ctx, repository)
}

func (f fake) Repositories(ctx context.Context) ([]string, error) {
	if f.names == nil {
		return nil, nil
	}
	return f.names(ctx)
}

// public is an error with a text for everybody.
type public struct {
	error
	text string
}

func (p public) Unwrap() error  { return p.error }
func (p public) Public() string { return p.text }

// A writerBlob has a size and writes what it likes.
type writerBlob struct {
	size  int64
	write func(ctx context.Context, w io.Writer, off, n int64) error
}

func (b writerBlob) Size() int64 { return b.size }

func (b writerBlob) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	return b.write(ctx, w, off, n)
}

func blobSource(b Blob) fake {
	return fake{blob: func(context.Context, BlobRequest) (Blob, error) { return b, nil }}
}

// A shelf holds one repository, "hello", in memory: an image in two media types, and its blobs.
type shelf struct {
	manifests []*v1.Descriptor // in order of preference
	blobs     map[v1.Hash]oci.Bytes
}

func digestOf(t testing.TB, data []byte) v1.Hash {
	t.Helper()
	d, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newShelf(t testing.TB) *shelf {
	s := &shelf{blobs: map[v1.Hash]oci.Bytes{}}
	for _, data := range []string{`{"architecture":"amd64","os":"linux"}`, strings.Repeat("layer ", 2000), ""} {
		s.blobs[digestOf(t, []byte(data))] = oci.Bytes(data)
	}
	for _, mt := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		var layers []string
		for _, d := range slices.SortedFunc(maps.Keys(s.blobs), func(a, b v1.Hash) int { return cmp.Compare(a.Hex, b.Hex) }) {
			layers = append(layers, fmt.Sprintf(`{"mediaType":"application/x","digest":%q,"size":%d}`, d, len(s.blobs[d])))
		}
		data := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"layers":[%s]}`, mt, strings.Join(layers, ","))
		s.manifests = append(s.manifests, &v1.Descriptor{
			MediaType: mt, Digest: digestOf(t, data), Size: int64(len(data)), Data: data,
		})
	}
	return s
}

func (s *shelf) Manifest(_ context.Context, r Request) (*v1.Descriptor, error) {
	var offers []types.MediaType
	for _, m := range s.manifests {
		if m.Digest == r.Digest && r.Repository == "hello" {
			return m, nil
		}
		offers = append(offers, m.MediaType)
	}
	if mt, ok := r.Accept(offers...); ok && r.Repository == "hello" && r.Tag == "latest" {
		return s.manifests[slices.Index(offers, mt)], nil
	}
	return nil, fmt.Errorf("manifest %s:%s: %w", r.Repository, r.Tag, fs.ErrNotExist)
}

func (s *shelf) Blob(_ context.Context, r BlobRequest) (Blob, error) {
	b, ok := s.blobs[r.Digest]
	if !ok || r.Repository != "hello" {
		return nil, fmt.Errorf("blob %s in %s: %w", r.Digest, r.Repository, fs.ErrNotExist)
	}
	return b, nil
}

func (s *shelf) Tags(_ context.Context, repository string) ([]string, error) {
	if repository != "hello" {
		return nil, fmt.Errorf("repository %s: %w", repository, fs.ErrNotExist)
	}
	return []string{"1.0", "latest"}, nil
}

func (s *shelf) Repositories(context.Context) ([]string, error) { return []string{"hello"}, nil }

// A logbook keeps what is logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// logger logs from level on into the logbook.
func (l *logbook) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// ask sends a request straight to h and returns the answer with its body read.
func ask(h http.Handler, method, target string, header http.Header) (*http.Response, string) {
	r := httptest.NewRequest(method, target, nil)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	return res, w.Body.String()
}
