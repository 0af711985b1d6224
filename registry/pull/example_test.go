package pull_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/registry/pull"
)

func Example() {
	r, err := pull.ParseReference("docker://nginx")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Host, r.Repository, r.Tag)
	// Output: docker.io library/nginx latest
}
