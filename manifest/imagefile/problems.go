package imagefile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// maxProblems bounds the problems that are listed of one file. Others are counted.
const maxProblems = 100

// fault is the kind of a problem. Its words are public, so they quote no file.
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
	twice:      "something that is defined twice",
	missing:    "something is missing",
	needsBuild: "something that needs a build",
	tooLarge:   "too large",
	more:       "and more problems",
}

// problem is a mistake at one place. It matches kind. The text may quote the file.
type problem struct {
	at    Position
	fault fault
	text  string
	kind  error
}

func (p *problem) Error() string { return p.at.String() + ": " + p.text }
func (p *problem) Unwrap() error { return p.kind }

// Public returns the problem without the directory of the file and without quoting the file.
func (p *problem) Public() string {
	at := p.at
	at.File = filepath.Base(at.File)
	return at.String() + ": " + faultWords[p.fault]
}

// problems collects the problems of a file.
type problems struct {
	file string
	list []*problem
	more int
}

// invalid adds a problem that matches [fs.ErrInvalid].
func (p *problems) invalid(at Position, f fault, format string, args ...any) {
	p.add(&problem{at, f, fmt.Sprintf(format, args...), fs.ErrInvalid})
}

// unsupported adds a problem that matches errors.ErrUnsupported.
func (p *problems) unsupported(at Position, f fault, format string, args ...any) {
	p.add(&problem{at, f, fmt.Sprintf(format, args...), errors.ErrUnsupported})
}

// full reports whether further problems are only counted.
func (p *problems) full() bool { return len(p.list) >= maxProblems }

func (p *problems) add(q *problem) {
	if p.full() {
		p.more++
		return
	}
	p.list = append(p.list, q)
}

// err returns all problems in the order of the file, one a line. It is nil if there are none.
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
