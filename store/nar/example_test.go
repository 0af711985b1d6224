package nar_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

func Example() {
	m := storetest.New()
	tree, err := m.Open(context.Background(), m.Add("app-1", storetest.Files{"bin/app": storetest.Exec("#!/bin/sh")}))
	if err != nil {
		log.Fatal(err)
	}
	defer tree.Close()
	var archive bytes.Buffer
	if err := storetest.WriteNAR(context.Background(), &archive, tree); err != nil {
		log.Fatal(err)
	}
	index, err := nar.ReadIndex(&archive)
	if err != nil {
		log.Fatal(err)
	}
	i, ok := index.Find("bin/app")
	fmt.Println(ok, index.At(i).Size)
	// Output: true 9
}
