package demo_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/demo"
)

func Example() {
	s, err := binarycache.Open(binarycache.Options{FS: demo.FS(), Trusted: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for e, err := range s.List(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Path.Name())
	}
	// Unordered output:
	// hello-1.0
	// hello-1.0
	// greeting-1.0
	// nixreg-logo-1.0
}
