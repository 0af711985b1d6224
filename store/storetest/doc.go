// Package storetest has a store in memory with real NarHashes ([Memory]), a second implementation of the NAR format to check
// hashes with ([WriteNAR]), and the contract that each implementation of store.Store must pass ([Test]). It must not know
// concrete stores.
//
//	m := storetest.New()
//	lib := m.Add("lib-1", storetest.Files{"lib/x.so": storetest.File("x")})
//	app := m.Add("app-1", storetest.Files{
//		"bin/app": storetest.Exec("#!/bin/sh\n"),
//		"lib":     storetest.Link(lib.Abs() + "/lib"),
//		"empty":   storetest.Dir(),
//	}, lib, storetest.Self)
//
// Its functions are for tests. They panic if an argument is wrong.
package storetest
