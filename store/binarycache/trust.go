package binarycache

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/nixreg/nixreg/store"
)

// trust decides which narinfo files make their path valid.
type trust struct {
	all  bool // nothing needs a signature
	keys []PublicKey
	name string // of the cache
	log  *slog.Logger
	warn sync.Once
}

// check returns nil where the path of n is valid, and notes in n why. Else the error matches fs.ErrNotExist and says what
// is missing. The first one is logged: a user who forgot a key sees why nothing is found.
//
// Source: Nix, libstore/path-info.cc, ValidPathInfo::checkSignatures.
func (t *trust) check(n *narinfo) error {
	if t.all || n.signed(t.keys) {
		return nil
	}
	ca, err := n.contentAddressed()
	if err == nil {
		n.byContent = &ca
		return nil
	}
	err = fmt.Errorf("%s is not signed by a trusted key: %s, %s: %w", n.object.Path, n.signers(), t.trusted(), store.ErrExplained)
	t.warn.Do(func() {
		t.log.Warn("binary cache has a path that no trusted key signed, it is taken as absent; told once", "cache", t.name, "err", err)
	})
	return err
}

// trusted says which keys would do.
func (t *trust) trusted() string {
	if len(t.keys) == 0 {
		return "no key is trusted here"
	}
	return "trusted are " + quoted(t.keys, func(k PublicKey) string { return k.name })
}

// signers says whose signatures n has.
func (n *narinfo) signers() string {
	if len(n.signatures) == 0 {
		return "it has no signature"
	}
	return "it is signed by " + quoted(n.signatures, func(s string) string {
		name, _, _ := strings.Cut(s, ":")
		return name
	})
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
