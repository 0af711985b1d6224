package imagefile_test

import (
	"fmt"
	"log"

	"github.com/nixreg/nixreg/manifest/imagefile"
)

func Example() {
	images, err := imagefile.Parse("web.yaml", []byte(`
name: web
contents: [/nix/store/00000000000000000000000000000000-web-1]
config: {Cmd: [/bin/web]}
`))
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range images {
		fmt.Printf("%s, at most %d layers, %s\n", i.Repository(), i.MaxLayers, i.Config)
	}
	_, err = imagefile.Parse("web.yaml", []byte("name: web\ncontent: []\n"))
	fmt.Println(err != nil)
	// Output:
	// web, at most 100 layers, {"Cmd":["/bin/web"]}
	// true
}
