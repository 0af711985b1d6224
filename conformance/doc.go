// Package conformance drives a running nixreg from outside, as its clients do, and holds the rules that keep the
// source in shape (the import graph, package names). It owns what an end-to-end test needs: the golden vectors, the
// scripts that make a real Nix store (nix/mkstore.sh), a Docker engine (clients/docker.sh) and a containerd
// (clients/containerd.sh, and clients/minicri to speak to it), and the resolver of a newer containerd (clients/resolve). It
// must know nothing of nixreg's insides: of its packages it imports none but the list of known failures (internal/cases).
//
// Where nixreg is a mirror itself (TestPullThrough…), its upstreams are registries of other makes, with a gate in front
// that counts and spoils (upstream_test.go). Binary caches are what nix copy wrote (nix/mkstore.sh caches), served by a
// file server and by versitygw to a nixreg on a machine without /nix (caches_machine_test.go), or forged
// (caches_forge_test.go).
//
// What clients and data directories hold on to is in testdata, made by an earlier program (README.md there): tables of
// digests (TestVectors), and a --data that is read on (TestDataIsReadOn, TestRootsAreReadOn). NIXREG=FILE has all tests run
// against another program than that of this tree.
//
// The demo store and the source are tested by a plain go test. With NIXREG_E2E=1 so are a real Nix store, the OCI
// conformance program and the clients: docker, podman, buildah, skopeo, containerd, crane, regctl, oras and curl, some of them
// behind nginx. Whatever of these is absent is a failure then; .ci/run names the Debian packages. The table of what each client
// made of each image goes into the file $NIXREG_CLIENTS_TABLE:
//
//	conformance/nix/mkstore.sh all
//	NIXREG_E2E=1 go test ./...
//
// What nixreg is known to fail in has tests, too, here and beside the code. They are skipped by the name of their case,
// also with NIXREG_E2E=1. This runs them and prints a table; its status is 1 as soon as one of them passes:
//
//	go run ./internal/cases/table
package conformance
