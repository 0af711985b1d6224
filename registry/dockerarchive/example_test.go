package dockerarchive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/registry/dockerarchive"
)

func Example() {
	var b bytes.Buffer
	image := dockerarchive.Image{Name: "hello", Tag: "1.0", Config: []byte(`{"rootfs":{"type":"layers","diff_ids":[]}}`)}
	if err := dockerarchive.Write(context.Background(), &b, image); err != nil {
		log.Fatal(err)
	}
	found := false
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		found = found || h.Name == "manifest.json"
	}
	fmt.Println(found)
	// Output: true
}
