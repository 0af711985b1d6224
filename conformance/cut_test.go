package conformance_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// cutter is a proxy that closes the connection in the midst of each layer's first response.
type cutter struct {
	host string // localhost:port

	mu      sync.Mutex
	cut     map[string]int64 // layer to the offset at which it was cut
	resumed map[string]bool  // layers that were asked for from just there, and given
}

// cutLayers puts a cutter in front of a server.
func cutLayers(t *testing.T, s *server, layers []descriptor) *cutter {
	t.Helper()
	c := &cutter{cut: make(map[string]int64), resumed: make(map[string]bool)}
	for _, l := range layers {
		c.cut[l.Digest] = 0
	}
	upstream, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.ModifyResponse = c.modify
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	c.host = strings.Replace(strings.TrimPrefix(front.URL, "http://"), "127.0.0.1", "localhost", 1)
	return c
}

// modify cuts a layer the first time that it is given, and notes what is asked for later.
func (c *cutter) modify(resp *http.Response) error {
	digest := resp.Request.URL.Path[strings.LastIndex(resp.Request.URL.Path, "/")+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	at, isLayer := c.cut[digest]
	switch {
	case !isLayer || resp.Request.Method != http.MethodGet || resp.ContentLength < 2:
	case at == 0 && resp.StatusCode == http.StatusOK:
		at = resp.ContentLength / 2
		c.cut[digest] = at
		resp.Body = cutBody{io.LimitReader(resp.Body, at), resp.Body}
	case resp.StatusCode == http.StatusPartialContent:
		c.resumed[digest] = c.resumed[digest] || resumesWithin(resp.Request.Header.Get("Range"), at)
	}
	return nil
}

// resumesWithin reports whether a range begins within what was sent before the cut: a client may not have seen the
// last bytes of it.
func resumesWithin(header string, cut int64) bool {
	var from int64
	_, err := fmt.Sscanf(header, "bytes=%d-", &from)
	return err == nil && from > 0 && from <= cut
}

// cutBody ends with an error where a body ends with io.EOF; the proxy then drops the connection.
type cutBody struct {
	io.Reader
	io.Closer
}

func (b cutBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// check fails the test if a layer was never cut, or was not taken up again where it was cut.
func (c *cutter) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for digest, at := range c.cut {
		if at == 0 {
			t.Errorf("%s was never cut", digest)
		} else if !c.resumed[digest] {
			t.Errorf("%s was cut at %d and not resumed", digest, at)
		}
	}
}

// What a client already has of a layer when the connection breaks need not be sent again: docker and containerd ask for
// the rest, and get it. Only layers are cut: docker takes configurations in one piece or not at all.
func TestCutConnections(t *testing.T) {
	endToEnd(t)
	helloPath(t)
	o := local
	o.Args = slices.Concat(o.Args, serveAs(t))
	s := start(t, o)
	i := s.target(t, "hello", "latest")
	i.says = "Hello, world!\n"
	layers := s.manifest(t, "hello", i.manifest).Layers
	for _, op := range append(dockerOperations(startDocker(t, "{}")), containerdOperations(startContainerd(t))...) {
		t.Run(op.client+"/"+op.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
			defer cancel()
			c := cutLayers(t, s, layers)
			through := i
			through.host = c.host
			if err := op.do(ctx, t.TempDir(), through); err != nil {
				t.Error(err)
			}
			c.check(t)
		})
	}
}
