package realise_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store/realise"
)

func Example() {
	attr, err := realise.ParseAttr("python3Packages.requests")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(attr, "for", realise.System("arm64"))
	_, err = realise.ParseAttr("--option")
	fmt.Println(err != nil)
	// Output:
	// python3Packages.requests for aarch64-linux
	// true
}
