package program

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// endings are what the name of a package adds to that of its program without a separator. The list is frozen: images depend on it.
var endings = []string{"cli", "js", "utils"}

// minLetters is how many letters a program's name has at least that a package may be called after.
const minLetters = 3

// Called returns the absolute path of the program of contents that the package called name is called after; "" if there is none. It is
// the longest one with which name begins, if name ends there, or goes on with another character than a letter, or with one of a few
// endings: node of nodejs, bash of bash-interactive. Of texlive it is not tex.
func Called(ctx context.Context, s store.Store, contents []store.Path, name string) (string, error) {
	for _, p := range contents {
		names, err := programs(ctx, s, p)
		if err != nil {
			return "", err
		}
		names = slices.DeleteFunc(names, func(n string) bool { return !calledAfter(name, n) })
		slices.SortFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
		for _, n := range names {
			if _, _, ok, err := executable(ctx, s, p, n); err != nil || ok {
				return path.Join(p.Abs(), "bin", n), err
			}
		}
	}
	return "", nil
}

// calledAfter reports whether a package is called after a program.
func calledAfter(name, program string) bool {
	rest, ok := strings.CutPrefix(name, program)
	if !ok || letters(program) < minLetters {
		return false
	}
	if !beginsWithLetter(rest) {
		return true
	}
	return slices.ContainsFunc(endings, func(e string) bool {
		after, ok := strings.CutPrefix(rest, e)
		return ok && !beginsWithLetter(after)
	})
}

func letters(s string) (n int) {
	for i := range len(s) {
		if beginsWithLetter(s[i:]) {
			n++
		}
	}
	return n
}

func beginsWithLetter(s string) bool { return s != "" && 'a' <= s[0]|0x20 && s[0]|0x20 <= 'z' }
