package mirror

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// permits say which repositories are mirrored.
type permits struct{ allowed, denied []pattern }

// A pattern is the components of a name, each as [path.Match] has it, or ** for any number of components.
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
	for _, p := range patterns {
		if p.match(name) {
			return true
		}
	}
	return false
}

// match walks both at once. At a ** it goes on behind it, and returns there with one component more skipped whenever
// the rest does not fit: only the last ** need be tried again, so that no pattern takes more than squared time.
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
