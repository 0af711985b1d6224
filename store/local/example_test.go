package local_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store/local"
)

func Example() {
	o, err := local.ParseURL("local?root=/absent")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(o.Root)
	s, err := local.Open(o)
	if err != nil {
		fmt.Println("no store in", o.Root)
		return
	}
	defer s.Close()
	// Output:
	// /absent
	// no store in /absent
}
