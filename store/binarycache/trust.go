package binarycache

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// unsignedBytes bounds the memory of paths that no trusted key has signed.
const unsignedBytes = 4 << 20

// trust decides which narinfo files make their path valid. Safe for concurrent use.
type trust struct {
	all  bool // nothing needs a signature
	keys []PublicKey
	name string // of the cache
	log  *slog.Logger

	unsigned lru.Cache[store.Path, *unsignedError]
	mu       sync.Mutex
	logged   int // number of paths in the last line of report
}

// unsignedError is about a path that no trusted key has signed. It matches store.ErrExplained. The names of keys in signatures are
// quoted, because clients see them.
type unsignedError struct {
	path             store.Path
	signers, trusted string
}

// Public is the text for clients.
func (e *unsignedError) Public() string {
	return fmt.Sprintf("%s is not signed by a trusted key: %s", e.path, e.signers)
}

func (e *unsignedError) Error() string { return e.Public() + ", " + e.trusted }
func (e *unsignedError) Unwrap() error { return store.ErrExplained }

// check returns nil if the path of n is valid. It sets n.byContent if the content address is the reason. Otherwise the error is
// an *unsignedError.
//
// Source: Nix, libstore/path-info.cc, ValidPathInfo::checkSignatures.
func (t *trust) check(n *narinfo) error {
	p := n.object.Path
	if !t.all && !n.signed(t.keys) {
		ca, err := n.contentAddressed()
		if err == nil {
			n.byContent = &ca
			return nil
		}
		u := &unsignedError{p, n.signers(t.keys), t.trusted()}
		t.unsigned.Put(p, u, int64(2*len(p)+len(u.signers)+len(u.trusted)))
		return u
	}
	t.unsigned.Delete(p)
	return nil
}

// report logs the number of paths without a trusted signature, if it is greater than in the last such line.
func (t *trust) report(paths int, example error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if paths > t.logged {
		t.logged = paths
		t.log.Warn("binary cache has paths that no trusted key has signed; they count as absent", "cache", t.name, "paths", paths, "example", example)
	}
}

// trusted names the trusted keys.
func (t *trust) trusted() string {
	if len(t.keys) == 0 {
		return "no key is trusted here"
	}
	return "trusted are " + quoted(t.keys, func(k PublicKey) string { return k.name })
}

// signers names the keys of the signatures of n, none of which is good. A signature by the name of a trusted key is wrong: n was changed,
// or another key has that name.
func (n *narinfo) signers(trusted []PublicKey) string {
	if len(n.signatures) == 0 {
		return "it has no signature"
	}
	nameOf := func(s string) string {
		name, _, _ := strings.Cut(s, ":")
		return name
	}
	for _, s := range n.signatures {
		if slices.ContainsFunc(trusted, func(k PublicKey) bool { return k.name == nameOf(s) }) {
			return fmt.Sprintf("its signature by %.60q is wrong", nameOf(s))
		}
	}
	return "it is signed by " + quoted(n.signatures, nameOf)
}

// quoted lists the names of the first few of s.
func quoted[T any](s []T, name func(T) string) string {
	const most = 5
	var names []string
	for _, v := range s[:min(len(s), most)] {
		names = append(names, fmt.Sprintf("%.60q", name(v)))
	}
	if len(s) > most {
		names = append(names, fmt.Sprintf("%d more", len(s)-most))
	}
	return strings.Join(slices.Compact(names), ", ")
}

// PublicKey is a key that makes trusted signatures. Only [ParsePublicKey] makes one.
type PublicKey struct {
	name string
	key  ed25519.PublicKey
}

// ParsePublicKey parses "<name>:<base64>", as in Nix's trusted-public-keys; white space around it is ignored. Anything else gives
// an error matching [fs.ErrInvalid].
func ParsePublicKey(s string) (PublicKey, error) {
	name, text, ok := strings.Cut(strings.TrimSpace(s), ":")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || name == "" || err != nil || len(key) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("public key %.100q: not of the form <name>:<base64 of 32 bytes>: %w", s, fs.ErrInvalid)
	}
	return PublicKey{name: name, key: key}, nil
}

// String is the text for [ParsePublicKey].
func (k PublicKey) String() string { return k.name + ":" + base64.StdEncoding.EncodeToString(k.key) }

// signs reports whether signature, "<name>:<base64>", is the signature of message by k.
func (k PublicKey) signs(message []byte, signature string) bool {
	name, text, _ := strings.Cut(signature, ":")
	if name != k.name {
		return false
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(sig) == ed25519.SignatureSize && ed25519.Verify(k.key, message, sig)
}

// fingerprint is the text that a signature of the path signs.
//
// Source: Nix, libstore/path-info.cc, ValidPathInfo::fingerprint.
func (n *narinfo) fingerprint() []byte {
	refs := make([]string, 0, len(n.object.References))
	for _, r := range n.object.References {
		refs = append(refs, r.Abs())
	}
	obj := &n.object
	return fmt.Appendf(nil, "1;%s;%s;%d;%s", obj.Path.Abs(), obj.NarHash, obj.NarSize, strings.Join(refs, ","))
}

// signed reports whether one of keys signed n.
func (n *narinfo) signed(keys []PublicKey) bool {
	message := n.fingerprint()
	return slices.ContainsFunc(n.signatures, func(sig string) bool {
		return slices.ContainsFunc(keys, func(k PublicKey) bool { return k.signs(message, sig) })
	})
}
