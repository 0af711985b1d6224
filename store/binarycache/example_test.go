package binarycache_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"strings"

	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/demo"
)

func Example() {
	s, err := binarycache.Open(binarycache.Options{FS: demo.FS(), Trusted: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	_, err = s.Find(context.Background(), strings.Repeat("0", 32))
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}
