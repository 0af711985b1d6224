package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// writeCache makes dir a binary cache of exactly these objects: uncompressed, unsigned.
func writeCache(dir string, objects []*object) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "nar"), 0o777); err != nil {
		return err
	}
	info := "StoreDir: " + store.Dir + "\nWantMassQuery: 1\nPriority: 40\n"
	if err := os.WriteFile(filepath.Join(dir, "nix-cache-info"), []byte(info), 0o666); err != nil {
		return err
	}
	for _, o := range objects {
		sum := store.Hash(sha256.Sum256(o.nar))
		url := "nar/" + strings.TrimPrefix(sum.String(), "sha256:") + ".nar"
		if err := os.WriteFile(filepath.Join(dir, url), o.nar, 0o666); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, o.path.Hash()+".narinfo"), o.narinfo(url, sum), 0o666); err != nil {
			return err
		}
	}
	return nil
}

func (o *object) narinfo(url string, sum store.Hash) []byte {
	var refs []string
	for _, p := range o.references {
		refs = append(refs, string(p))
	}
	slices.Sort(refs)
	var b []byte
	b = fmt.Appendf(b, "StorePath: %s\n", o.path.Abs())
	b = fmt.Appendf(b, "URL: %s\nCompression: none\n", url)
	b = fmt.Appendf(b, "FileHash: %s\nFileSize: %d\n", sum, len(o.nar))
	b = fmt.Appendf(b, "NarHash: %s\nNarSize: %d\n", sum, len(o.nar))
	b = fmt.Appendf(b, "References: %s\n", strings.Join(refs, " "))
	return fmt.Appendf(b, "Deriver: %s\n", o.deriver)
}
