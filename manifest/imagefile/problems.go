package imagefile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// maxProblems bounds what is told of one file; the rest is counted.
const maxProblems = 100

// fault is what kind of problem it is. Its words are for everybody, so none of them is from a file.
type fault uint8

const (
	badSyntax fault = iota
	badKey
	badType
	badValue
	twice
	missing
	needsBuild
	tooLarge
	more
)

var faultWords = [...]string{
	badSyntax:  "not YAML, or not JSON",
	badKey:     "unknown key",
	badType:    "a value of another type than the key takes",
	badValue:   "a value that the key does not take",
	twice:      "something that is there already",
	missing:    "something is missing",
	needsBuild: "something that needs a build",
	tooLarge:   "too large",
	more:       "and more problems",
}

// problem is what is wrong at one place. It matches its kind. The text may quote the file.
type problem struct {
	at    Position
	fault fault
	text  string
	kind  error
}

func (p *problem) Error() string { return p.at.String() + ": " + p.text }
func (p *problem) Unwrap() error { return p.kind }

// Public is the problem without a word of the file, nor of where that is.
func (p *problem) Public() string {
	at := p.at
	at.File = filepath.Base(at.File)
	return at.String() + ": " + faultWords[p.fault]
}

// problems collects what is wrong in a file.
type problems struct {
	file string
	list []*problem
	more int
}

// invalid notes what matches [fs.ErrInvalid].
func (p *problems) invalid(at Position, f fault, format string, args ...any) {
	p.add(&problem{at, f, fmt.Sprintf(format, args...), fs.ErrInvalid})
}

// unsupported notes what matches errors.ErrUnsupported.
func (p *problems) unsupported(at Position, f fault, format string, args ...any) {
	p.add(&problem{at, f, fmt.Sprintf(format, args...), errors.ErrUnsupported})
}

// room reports whether the next problem will be told, and so deserves some thought.
func (p *problems) room() bool { return len(p.list) < maxProblems }

func (p *problems) add(q *problem) {
	if !p.room() {
		p.more++
		return
	}
	p.list = append(p.list, q)
}

// err is all problems in the file's order, one a line; nil if there are none.
func (p *problems) err() error {
	slices.SortStableFunc(p.list, func(a, b *problem) int {
		return cmp.Or(cmp.Compare(a.at.Line, b.at.Line), cmp.Compare(a.at.Column, b.at.Column))
	})
	var all []error
	for _, q := range p.list {
		all = append(all, q)
	}
	if p.more > 0 {
		last := p.list[len(p.list)-1]
		all = append(all, &problem{last.at, more, fmt.Sprintf("and %d problems more", p.more), fs.ErrInvalid})
	}
	return errors.Join(all...)
}
