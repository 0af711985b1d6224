package layer_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

func Example() {
	m := storetest.New()
	o, err := m.Object(context.Background(), m.Add("app-1", storetest.Files{"bin/app": storetest.Exec("#!/bin/sh")}))
	if err != nil {
		log.Fatal(err)
	}
	recipe := layer.Recipe{Format: layer.StorePaths, Objects: []layer.Ref{layer.RefOf(o)}, Owner: layer.Root, MTime: 1}
	again := layer.Recipe{Format: layer.StorePaths, Objects: []layer.Ref{layer.RefOf(o)}, Owner: layer.Root, MTime: 1}
	fmt.Println(recipe.ID() == again.ID()) // equal recipes give equal bytes
	again.MTime = 2
	fmt.Println(recipe.ID() == again.ID())
	// Output:
	// true
	// false
}
