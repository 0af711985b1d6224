package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/nixreg/nixreg/registry/upstream"
)

func Example() {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	r, err := upstream.New(upstream.Options{Name: "lab", URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	_, err = r.Manifest(context.Background(), "hello", "latest")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}
