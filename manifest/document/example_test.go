package document_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/manifest/document"
)

func Example() {
	v, err := document.Parse([]byte(`{"os": "linux", "architecture": "amd64"}`))
	if err != nil {
		log.Fatal(err)
	}
	v.Set("author", document.String("me"))
	fmt.Printf("%s\n", v.Compact()) // in the order of the keys
	// Output: {"os":"linux","architecture":"amd64","author":"me"}
}
