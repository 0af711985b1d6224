// Package storetest holds what tests of stores and of their users need: [Memory], a store in memory with real
// archive hashes; [WriteNAR], the oracle its hashes and those of every other store are checked with; and [Test], the
// contract each implementation of store.Store has to pass. It knows no concrete store.
//
//	m := storetest.New()
//	lib := m.Add("lib-1", storetest.Files{"lib/x.so": storetest.File("x")})
//	app := m.Add("app-1", storetest.Files{
//		"bin/app": storetest.Exec("#!/bin/sh\n"),
//		"lib":     storetest.Link(lib.Abs() + "/lib"),
//		"empty":   storetest.Dir(),
//	}, lib, storetest.Self)
//
// Its functions are for tests: where an argument makes no sense they panic.
package storetest
