package export_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/manifest/export"
)

func Example() {
	d, err := export.ParseDestination("docker-archive:hello.tar:hello:1.0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Transport, d.Path, d.Name)
	// Output: docker-archive hello.tar hello:1.0
}
