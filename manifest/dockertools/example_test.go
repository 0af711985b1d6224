package dockertools_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func Example() {
	m := storetest.New()
	lib := m.Add("lib-1", storetest.Files{"lib/x.so": storetest.File("a large library")})
	app := m.Add("app-2", storetest.Files{"bin/app": storetest.Exec("#!/bin/sh")}, lib)
	closure, err := store.Closure(context.Background(), m, app)
	if err != nil {
		log.Fatal(err)
	}
	for _, paths := range dockertools.Plan(closure, [2]dockertools.Hidden{}, dockertools.DefaultMaxLayers) {
		for _, p := range paths {
			fmt.Println(p.Name())
		}
	}
	// Unordered output:
	// lib-1
	// app-2
}
