package channel_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store/channel"
)

func Example() {
	name, location, err := channel.ParseName("stable=https://cache.example/channels/25.05")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(name, location)
	// Output: stable https://cache.example/channels/25.05
}
