// Package conformance drives a running nixreg from outside, as its clients do, and holds the rules that keep the
// source in shape (the import graph, package names). It owns what an end-to-end test needs: the golden vectors, the
// scripts that make a real Nix store (nix/mkstore.sh) and a Docker engine (clients/docker.sh). It must know nothing
// of nixreg's insides: it imports none of its packages.
//
// The demo store and the source are tested by a plain go test. With NIXREG_E2E=1 so are Docker, a real Nix store
// and the OCI conformance program; whatever of these is absent is a failure then:
//
//	conformance/nix/mkstore.sh all
//	NIXREG_E2E=1 go test ./...
package conformance
