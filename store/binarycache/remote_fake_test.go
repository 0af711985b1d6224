package binarycache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/nixreg/nixreg/store"
)

// fakeCache is a Fetcher over a map, that counts and can be made to fail.
type fakeCache struct {
	mu    sync.Mutex
	files fstest.MapFS
	fail  error                     // of every request
	gate  chan struct{}             // what requests wait for, if not nil
	open  func(io.Reader) io.Reader // changes archives, if not nil
	count map[string]int            // requests by name
	busy  int                       // now
	most  int                       // at once
}

func newFake(files fstest.MapFS) *fakeCache {
	return &fakeCache{files: files, count: make(map[string]int)}
}

func (c *fakeCache) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	b, err := c.request(ctx, name)
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("get %s: %w", name, store.ErrTooLarge)
	}
	return b, err
}

func (c *fakeCache) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	b, err := c.request(ctx, name)
	if err != nil {
		return nil, err
	}
	var r io.Reader = contextReader{ctx, bytes.NewReader(b)}
	if c.open != nil {
		r = c.open(r)
	}
	return io.NopCloser(r), nil
}

func (c *fakeCache) request(ctx context.Context, name string) ([]byte, error) {
	c.mu.Lock()
	c.count[name]++
	c.busy++
	c.most = max(c.most, c.busy)
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.fail != nil {
		return nil, fmt.Errorf("get %s: %w", name, c.fail)
	}
	f := c.files[name]
	if f == nil {
		return nil, fmt.Errorf("get %s: %w", name, fs.ErrNotExist)
	}
	return bytes.Clone(f.Data), nil
}

// set changes the cache while it is in use.
func (c *fakeCache) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// asked tells how often a file was asked for since the last time.
func (c *fakeCache) asked(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count[name]
	c.count[name] = 0
	return n
}

// memory is a Records.
type memory struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (r *memory) Get(_ context.Context, key string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.m[key]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (r *memory) Put(_ context.Context, key string, value []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[string][]byte)
	}
	r.m[key] = bytes.Clone(value)
	return nil
}

// webCache is a Fetcher over a plain file server.
type webCache struct{ url string }

func serve(t *testing.T, files fs.FS) webCache {
	t.Helper()
	srv := httptest.NewServer(http.FileServerFS(files))
	t.Cleanup(srv.Close)
	return webCache{srv.URL}
}

func (c webCache) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case resp.StatusCode == http.StatusNotFound:
		resp.Body.Close()
		return nil, fs.ErrNotExist
	case resp.StatusCode != http.StatusOK:
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %w", resp.Status, store.ErrUnavailable)
	}
	return resp.Body, nil
}

func (c webCache) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	r, err := c.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(b)) > limit {
		return nil, store.ErrTooLarge
	}
	return b, err
}
