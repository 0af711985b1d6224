// Command sharing writes a binary cache with the closures by which the order of layers is measured, and prints the names of the images.
//
//	go run ./conformance/bench/sharing /tmp/sharing
//	nixreg serve --store 'file:///tmp/sharing?trusted=true'
//
// The packages and references are those of manifest/dockertools/testdata/closures.txt. Each path is one file of random bytes, of a
// twentieth of the package's size. docs/layers.md has what clients make of it.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	closures = "manifest/dockertools/testdata/closures.txt"
	scale    = 20
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: sharing DIR")
	}
	text, err := os.ReadFile(closures)
	if err != nil {
		log.Fatal(err)
	}
	dir := os.Args[1]
	if err := os.MkdirAll(filepath.Join(dir, "nar"), 0o777); err != nil {
		log.Fatal(err)
	}
	write(dir, "nix-cache-info", []byte("StoreDir: /nix/store\n"))
	for line := range strings.Lines(string(text)) {
		switch words := strings.Fields(line); words[0] {
		case "#", "updates":
		case "images":
			fmt.Println(strings.Join(words[1:], " "))
		default:
			size, err := strconv.Atoi(words[1])
			if err != nil {
				log.Fatal(err)
			}
			writePath(dir, words[0], size/scale, words[2:])
		}
	}
}

// path is the name of a store path; its hash part is a hash of the name in digits that Nix has, too.
func path(name string) string {
	hash := strings.ReplaceAll(fmt.Sprintf("%x", sha256.Sum256([]byte(name))), "e", "g") // there is no e among Nix's digits
	return hash[:32] + "-" + name + "-1.0"
}

func writePath(dir, name string, size int, references []string) {
	data := make([]byte, size)
	seed := sha256.Sum256([]byte(name))
	_, _ = rand.NewChaCha8(seed).Read(data)
	var nar []byte
	for _, s := range []string{
		"nix-archive-1", "(", "type", "directory", "entry", "(", "name", "data", "node", "(", "type", "regular", "contents", string(data), ")", ")", ")",
	} {
		nar = binary.LittleEndian.AppendUint64(nar, uint64(len(s)))
		nar = append(nar, s...)
		nar = append(nar, make([]byte, -len(s)&7)...)
	}
	sum := sha256.Sum256(nar)
	p := path(name)
	for i, r := range references {
		references[i] = path(r)
	}
	file := "nar/" + p[:32] + ".nar"
	write(dir, file, nar)
	write(dir, p[:32]+".narinfo", fmt.Appendf(nil, "StorePath: /nix/store/%s\nURL: %s\nCompression: none\nNarHash: sha256:%s\nNarSize: %d\nReferences: %s\n",
		p, file, hex.EncodeToString(sum[:]), len(nar), strings.Join(references, " ")))
}

func write(dir, name string, b []byte) {
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
		log.Fatal(err)
	}
}
