package digests_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"

	"github.com/nixreg/nixreg/manifest/digests"
)

func Example() {
	ctx, cache := context.Background(), digests.NewMemory(1<<20)
	_, err := cache.Get(ctx, "layer")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	if err := cache.Put(ctx, "layer", []byte("sha256:…")); err != nil {
		log.Fatal(err)
	}
	record, err := cache.Get(ctx, "layer")
	fmt.Printf("%s %v\n", record, err)
	// Output:
	// true
	// sha256:… <nil>
}
