package store_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func Example() {
	m := storetest.New()
	lib := m.Add("lib-1", storetest.Files{"lib/x.so": storetest.File("x")})
	app := m.Add("app-2", storetest.Files{"bin/app": storetest.Exec("#!/bin/sh")}, lib)
	closure, err := store.Closure(context.Background(), store.Union(m), app)
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range closure {
		fmt.Println(o.Path.Name())
	}
	// Unordered output:
	// lib-1
	// app-2
}
