// Command nix-store stands in for Nix's own on a machine that has none: of all its commands it knows the two by which roots
// are made and listed. A root is noted where Nix notes it, as a link to the link.
//
//	nix-store --realise --add-root LINK --indirect PATH...
//	nix-store --query --roots PATH
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// noted is where Nix notes roots that lie elsewhere.
const noted = "/nix/var/nix/gcroots/auto"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 4 && args[0] == "--realise" && args[1] == "--add-root" && args[3] == "--indirect":
		return addRoots(args[2], args[4:])
	case len(args) == 3 && slices.Equal(args[:2], []string{"--query", "--roots"}):
		return listRoots(args[2])
	}
	return fmt.Errorf("unrecognised option in %q", args)
}

// addRoots makes a link to each path: name, name-2, name-3.
//
// Source: Nix, nix-store/nix-store.cc, realisePath, and libstore/gc.cc, addIndirectRoot.
func addRoots(name string, paths []string) error {
	for i, p := range paths {
		if _, err := os.Lstat(p); err != nil {
			return fmt.Errorf("path '%s' is not valid", p)
		}
		link := name
		if i > 0 {
			link = fmt.Sprintf("%s-%d", name, i+1)
		}
		if err := replace(link, p); err != nil {
			return err
		}
		if err := replace(filepath.Join(noted, fmt.Sprintf("%x", sha256.Sum256([]byte(link)))), link); err != nil {
			return err
		}
		fmt.Println(link)
	}
	return nil
}

// replace makes a link. One that leads there already stays, so that only nixreg itself gives its folder another time.
func replace(link, target string) error {
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, link)
}

func listRoots(p string) error {
	links, err := filepath.Glob(noted + "/*")
	if err != nil {
		return err
	}
	for _, l := range links {
		link, err := os.Readlink(l)
		if err != nil {
			return err
		}
		if target, err := os.Readlink(link); err == nil && target == p {
			fmt.Println(link, "->", p)
		}
	}
	return nil
}
