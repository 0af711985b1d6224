package hostfile_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/hostfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "hostfile")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "base.tar")
	if err := os.WriteFile(file, []byte("an image"), 0o600); err != nil {
		log.Fatal(err)
	}
	var s hostfile.Store
	p, err := s.Add(file)
	if err != nil {
		log.Fatal(err)
	}
	b, err := store.ReadFile(context.Background(), &s, p, "", 1<<10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	// Output: an image
}
