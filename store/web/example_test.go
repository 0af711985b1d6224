package web_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"testing/fstest"

	"github.com/nixreg/nixreg/store/web"
)

func Example() {
	files := fstest.MapFS{"nix-cache-info": {Data: []byte("StoreDir: /nix/store\n")}}
	server := httptest.NewServer(http.FileServerFS(files))
	defer server.Close()
	location, _, err := web.ParseLocation(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	c, err := web.New(context.Background(), web.Options{Location: location})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	info, err := c.Get(context.Background(), "nix-cache-info", 1<<10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", info)
	// Output: StoreDir: /nix/store
}
