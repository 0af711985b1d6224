// Package fakenix has commands that stand in for nix and nix-store in tests of whole programs.
//
// It owns which attributes there are, and what they give. It must not know who builds them.
package fakenix

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Nix is the main function of a nix whose file has a few attributes. NIX_FAKE_PATH is what "greeting" gives; builds that hang
// leave a file in the directory NIX_FAKE_BEGUN.
func Nix() {
	at := slices.Index(os.Args, "--argstr")
	attr := os.Args[at+3]
	switch {
	case slices.Contains(os.Args, "build") && attr == "greeting":
		fmt.Printf(`[{"outputs": {"out": %q}}]`, os.Getenv("NIX_FAKE_PATH"))
	case slices.Contains(os.Args, "build") && strings.HasPrefix(attr, "hangs"):
		_ = os.WriteFile(filepath.Join(os.Getenv("NIX_FAKE_BEGUN"), attr), nil, 0o600) // else the test waits for it in vain
		time.Sleep(time.Hour)
	case slices.Contains(os.Args, "build"):
		fmt.Fprint(os.Stderr, "error: https://me:hush@cache.test is out of reach\nerror: that is why\n")
		os.Exit(1)
	case slices.ContainsFunc(os.Args, func(s string) bool { return strings.Contains(s, ".outPath") }):
		fmt.Print(`[]`) // which paths a build gives nobody knows before
	case attr == ".":
		fmt.Print(`["fails","greeting","hangs1","hangs2"]`)
	default:
		fmt.Print(`{"name": "x", "pname": "", "version": "", "imageName": "", "imageTag": ""}`)
	}
}

// NixStore is the main function of a nix-store that makes the one link it is asked for.
func NixStore() {
	if err := os.Symlink(os.Args[5], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
