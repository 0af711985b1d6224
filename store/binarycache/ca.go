package binarycache

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

// contentAddress is the CA of a narinfo. A path is content-addressed if its hash part follows from this; then it needs no signature.
type contentAddress struct {
	method caMethod
	algo   string // "sha256"
	hash   []byte
}

type caMethod string

const (
	textMethod caMethod = "text:"    // of the contents of the one file; references are allowed
	flatMethod caMethod = "fixed:"   // of the contents of the one file
	narMethod  caMethod = "fixed:r:" // of the archive
)

var errNotCA = errors.New("not a content address of the path")

// caHash returns a new hash with Nix's name algo.
func caHash(algo string) (hash.Hash, bool) {
	switch algo {
	case "md5":
		return md5.New(), true
	case "sha1":
		return sha1.New(), true
	case "sha256":
		return sha256.New(), true
	case "sha512":
		return sha512.New(), true
	}
	return nil, false
}

// parseCA parses "text:sha256:<hash>", "fixed:<algo>:<hash>" and "fixed:r:<algo>:<hash>", with the hash in hex or Nix's base 32.
// Anything else, such as a git hash, gives an error; such a path needs a signature.
//
// Source: Nix, libstore/content-address.cc.
func parseCA(s string) (ca contentAddress, err error) {
	rest := s
	for _, m := range []caMethod{narMethod, flatMethod, textMethod} {
		var ok bool
		if rest, ok = strings.CutPrefix(s, string(m)); ok {
			ca.method = m
			break
		}
	}
	algo, digits, _ := strings.Cut(rest, ":")
	h, ok := caHash(algo)
	if ca.method == "" || !ok || ca.method == textMethod && algo != "sha256" {
		return ca, fmt.Errorf("%.100q: %w", s, errNotCA)
	}
	ca.algo = algo
	if len(digits) == hex.EncodedLen(h.Size()) {
		ca.hash, err = hex.DecodeString(digits)
	} else {
		ca.hash, err = store.DecodeBase32(digits)
	}
	if err != nil || len(ca.hash) != h.Size() {
		return ca, fmt.Errorf("%.100q: not a hash of %d bytes: %w", s, h.Size(), errNotCA)
	}
	return ca, nil
}

// path is the store path for this content, with the name and references. refs is sorted and does not have the path itself.
//
// Source: Nix, libstore/store-dir-config.cc, makeFixedOutputPathFromCA, and the manual, "Complete Store Path Calculation".
func (ca contentAddress) path(name string, refs []store.Path) (store.Path, error) {
	kind, inner := "output:out", ca.hash
	switch {
	case ca.method == textMethod:
		kind = withReferences("text", refs)
	case ca.method == narMethod && ca.algo == "sha256":
		kind = withReferences("source", refs)
	case len(refs) > 0:
		return "", fmt.Errorf("%s%s with references: %w", ca.method, ca.algo, errNotCA)
	default:
		sum := sha256.Sum256(fmt.Appendf(nil, "fixed:out:%s%s:%x:", strings.TrimPrefix(string(ca.method), "fixed:"), ca.algo, ca.hash))
		inner = sum[:]
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s:sha256:%x:%s:%s", kind, inner, store.Dir, name))
	return store.ParsePath(store.EncodeBase32(fold(sum[:], 20)) + "-" + name)
}

func withReferences(kind string, refs []store.Path) string {
	var b strings.Builder
	b.WriteString(kind)
	for _, r := range refs {
		b.WriteString(":" + r.Abs())
	}
	return b.String()
}

// fold shortens b to n bytes: byte i is XORed into byte i mod n.
//
// Source: Nix, libutil/hash.cc, compressHash.
func fold(b []byte, n int) []byte {
	out := make([]byte, n)
	for i, c := range b {
		out[i%n] ^= c
	}
	return out
}

// contentAddressed returns the content address of n, or an error if the path of n does not follow from it.
func (n *narinfo) contentAddressed() (ca contentAddress, err error) {
	obj := &n.object
	if ca, err = parseCA(obj.CA); err != nil {
		return ca, err
	}
	if slices.Contains(obj.References, obj.Path) { // then the hash is that of the content without the path
		return ca, fmt.Errorf("%.100q with a reference to itself: %w", obj.CA, errNotCA)
	}
	p, err := ca.path(obj.Path.Name(), obj.References)
	if err == nil && p != obj.Path {
		err = fmt.Errorf("%.100q makes %s: %w", obj.CA, p, errNotCA)
	}
	return ca, err
}

// contentCheck compares the archive that is written to it with a content address.
type contentCheck struct {
	ca    contentAddress
	hash  hash.Hash
	shape *nar.File // if the hash is that of the one file in the archive
}

// contentCheck returns the check for the archive of n. It accepts everything if the path of n is signed or trusted: then NarHash is
// enough.
func (n *narinfo) contentCheck() *contentCheck {
	if n.byContent == nil {
		return new(contentCheck)
	}
	c := &contentCheck{ca: *n.byContent}
	c.hash, _ = caHash(c.ca.algo)
	if c.ca.method != narMethod {
		c.shape = nar.NewFile(n.object.NarSize)
	}
	return c
}

// Write implements io.Writer. It never fails; verify does.
func (c *contentCheck) Write(b []byte) (int, error) {
	switch {
	case c.shape != nil:
		c.hash.Write(c.shape.Contents(b))
	case c.hash != nil:
		c.hash.Write(b)
	}
	return len(b), nil
}

func (c *contentCheck) verify() error {
	if c.hash == nil {
		return nil
	}
	if c.shape != nil && !c.shape.Complete() {
		return corrupt("content address %s%s: the archive is not one regular, not executable file", c.ca.method, c.ca.algo)
	}
	if got := c.hash.Sum(nil); !slices.Equal(got, c.ca.hash) {
		return corrupt("content has %s hash %x, its content address is %x", c.ca.algo, got, c.ca.hash)
	}
	return nil
}
