package mirror

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// permits decide which repositories are mirrored.
type permits struct{ allowed, denied []pattern }

// pattern is a list of components: patterns of [path.Match], or ** for any number of components.
type pattern []string

func newPermits(allow, deny []string) (p permits, err error) {
	if p.allowed, err = parsePatterns(allow); err != nil {
		return permits{}, err
	}
	p.denied, err = parsePatterns(deny)
	return p, err
}

func parsePatterns(texts []string) ([]pattern, error) {
	var all []pattern
	for _, text := range texts {
		p := pattern(strings.Split(text, "/"))
		for _, c := range p {
			if _, err := path.Match(c, ""); err != nil || c == "" {
				return nil, fmt.Errorf("pattern %.100q: want a repository's name, with * for any part of one component and ** for any number of them: team/*: %w", text, fs.ErrInvalid)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func (p permits) allow(repository string) bool {
	name := strings.Split(repository, "/")
	return (len(p.allowed) == 0 || match(p.allowed, name)) && !match(p.denied, name)
}

func match(patterns []pattern, name []string) bool {
	return slices.ContainsFunc(patterns, func(p pattern) bool { return p.match(name) })
}

// match compares a pattern with a name. After a mismatch it goes back to the last ** and lets that match one component more. To try
// only the last one is enough, and bounds the time by the product of both lengths.
func (p pattern) match(name []string) bool {
	i, j, star, from := 0, 0, -1, 0
	for j < len(name) {
		switch {
		case i < len(p) && p[i] == "**":
			star, from = i, j
			i++
			continue
		case i < len(p):
			if ok, _ := path.Match(p[i], name[j]); ok {
				i, j = i+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		i, j = star+1, from
	}
	for i < len(p) && p[i] == "**" {
		i++
	}
	return i == len(p)
}
