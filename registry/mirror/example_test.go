package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/nixreg/nixreg/registry/mirror"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// forgetful keeps no records: they may be lost at any time.
type forgetful struct{}

func (forgetful) Get(_ context.Context, key string) ([]byte, error) {
	return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
}

func (forgetful) Put(context.Context, string, []byte) error { return nil }

func Example() {
	origin := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer origin.Close()
	from, err := upstream.New(upstream.Options{Name: "lab", URL: origin.URL})
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "mirror")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	kept, err := blobs.Open(blobs.Options{Dir: dir, Max: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer kept.Close()
	m, err := mirror.New(mirror.Config{Upstream: from, Blobs: kept, Records: forgetful{}})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	_, err = m.Tags(context.Background(), "hello")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}
