package nixconf_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store/nixconf"
)

func Example() {
	env := map[string]string{
		"NIX_CONF_DIR":        "/absent",
		"NIX_USER_CONF_FILES": "/absent",
		"NIX_CONFIG":          "substituters = https://cache.example",
	}
	c, err := nixconf.Read(func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Substituters)
	// Output: [https://cache.example]
}
