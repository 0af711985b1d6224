package registry_test

import (
	"context"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/registry"
)

// noImages is a source that has nothing. A real one is manifest.Source or mirror.Mirror.
type noImages struct{}

func (noImages) Manifest(_ context.Context, r registry.Request) (*v1.Descriptor, error) {
	return nil, fmt.Errorf("image %s: %w", r.Repository, fs.ErrNotExist)
}

func (noImages) Blob(_ context.Context, r registry.BlobRequest) (registry.Blob, error) {
	return nil, fmt.Errorf("blob %s: %w", r.Digest, fs.ErrNotExist)
}

func Example() {
	server := httptest.NewServer(&registry.Handler{Source: noImages{}})
	defer server.Close()
	resp, err := http.Get(server.URL + "/v2/hello/manifests/latest")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 404 Not Found
}
