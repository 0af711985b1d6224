package conformance_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	endian "encoding/binary"
	"fmt"
	"math/rand"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// forge makes a binary cache of whatever a test wants, signed with a key of its own: also of what no Nix would write.
type forge struct {
	files fstest.MapFS
	key   ed25519.PrivateKey
}

func newForge() *forge {
	return &forge{
		files: fstest.MapFS{"nix-cache-info": {Data: []byte("StoreDir: /nix/store\n")}},
		key:   ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)),
	}
}

// options are those of a server that trusts the forge.
func (f *forge) options(urls ...string) options {
	public := f.key.Public().(ed25519.PublicKey)
	o := options{Args: []string{"--trusted-public-key", "forge-1:" + base64.StdEncoding.EncodeToString(public)}}
	for _, u := range urls {
		o.Args = append(o.Args, "--store", u)
	}
	return o
}

// serve serves it behind a gate.
func (f *forge) serve(t *testing.T) *upstream {
	t.Helper()
	return gate(t, localServer(t, http.FileServer(http.FS(f.files))))
}

// forged is what the cache says of a path.
type forged struct {
	Path        string
	References  []string
	Compression string
	File        []byte // what is sent
	NAR         []byte // what it says it is
	NarSize     int    // 0 is that of NAR
}

// add puts a path into the cache, with a narinfo that is right but for what the test made otherwise.
func (f *forge) add(p forged) {
	if p.Compression == "" {
		p.Compression = "none"
	}
	if p.File == nil {
		p.File = p.NAR
	}
	if p.NarSize == 0 {
		p.NarSize = len(p.NAR)
	}
	var names []string
	for _, r := range p.References {
		names = append(names, path.Base(r))
	}
	narHash, file := "sha256:"+nix32(sha256.Sum256(p.NAR)), nix32(sha256.Sum256(p.File))
	// Source: Nix, libstore/path-info.cc, ValidPathInfo::fingerprint.
	fingerprint := fmt.Sprintf("1;%s;%s;%d;%s", p.Path, narHash, p.NarSize, strings.Join(p.References, ","))
	sig := base64.StdEncoding.EncodeToString(ed25519.Sign(f.key, []byte(fingerprint)))
	url := "nar/" + file + ".nar"
	f.files[url] = &fstest.MapFile{Data: p.File}
	f.files[hash(p.Path)+".narinfo"] = &fstest.MapFile{Data: fmt.Appendf(nil,
		"StorePath: %s\nURL: %s\nCompression: %s\nFileHash: sha256:%s\nFileSize: %d\nNarHash: %s\nNarSize: %d\nReferences: %s\nSig: forge-1:%s\n",
		p.Path, url, p.Compression, file, len(p.File), narHash, p.NarSize, strings.Join(names, " "), sig)}
}

// url is where the archive of a path is, as requests have it.
func (f *forge) url(storePath string) string {
	_, rest, _ := strings.Cut(string(f.files[hash(storePath)+".narinfo"].Data), "URL: ")
	url, _, _ := strings.Cut(rest, "\n")
	return "GET /" + url
}

// forgedPath is a store path whose hash part is made of a name.
func forgedPath(name string) string {
	return "/nix/store/" + nix32(sha256.Sum256([]byte(name)))[:32] + "-" + name
}

// chain adds paths of a size, each of which needs the one before, and returns them. Their images have a layer for each.
func (f *forge) chain(prefix string, paths, size int) (all []string) {
	for i := range paths {
		p := forged{Path: forgedPath(fmt.Sprintf("%s%d-1.0", prefix, i))}
		content := make([]byte, size)
		_, _ = rand.New(rand.NewSource(int64(i))).Read(content) // never fails
		if i > 0 {
			p.References = []string{all[i-1]}
		}
		p.NAR = narDir(narEntry{"data", narFile(string(content))})
		f.add(p)
		all = append(all, p.Path)
	}
	return all
}

// nix32 is a hash in Nix's base 32.
//
// Source: Nix, libutil/hash.cc, printHash32.
func nix32(sum [sha256.Size]byte) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	var out []byte
	for n := (len(sum)*8 - 1) / 5; n >= 0; n-- {
		bit := n * 5
		i, j := bit/8, bit%8
		c := sum[i] >> j
		if i+1 < len(sum) {
			c |= sum[i+1] << (8 - j)
		}
		out = append(out, digits[c&0x1f])
	}
	return string(out)
}

// narEntry is a name in a directory, and the archive's text for what has it.
type narEntry struct{ name, node string }

// narFile, narLink and narTree are nodes; narDir is a whole archive.
//
// Source: Nix, libutil/archive.cc, dump.
func narFile(content string) string {
	return narStrings("(", "type", "regular", "contents", content, ")")
}

func narLink(target string) string { return narStrings("(", "type", "symlink", "target", target, ")") }

func narTree(entries ...narEntry) string {
	all := []string{narStrings("(", "type", "directory")}
	for _, e := range entries {
		all = append(all, narStrings("entry", "(", "name", e.name, "node"), e.node, narStrings(")"))
	}
	return strings.Join(append(all, narStrings(")")), "")
}

func narDir(entries ...narEntry) []byte {
	return slices.Concat([]byte(narStrings("nix-archive-1")), []byte(narTree(entries...)))
}

// narStrings writes strings as an archive has them: length, bytes, and zeros up to eight.
func narStrings(all ...string) string {
	var b []byte
	for _, s := range all {
		b = endian.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, -len(s)&7)...)
	}
	return string(b)
}
