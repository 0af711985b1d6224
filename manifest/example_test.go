package manifest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/demo"
)

func Example() {
	s, err := binarycache.Open(binarycache.Options{FS: demo.FS(), Trusted: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Cache: new(digests.Memory)})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	images, err := src.Inspect(context.Background(), "hello", "latest")
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range images {
		fmt.Println(i.OS, i.Architecture, i.Version, len(i.Layers))
	}
	// Output:
	// linux amd64 1.0 4
	// linux arm64 1.0 4
}
