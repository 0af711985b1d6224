package imagefile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// maxProblems bounds what is told of one file; the rest is counted.
const maxProblems = 100

// problem is what is wrong at one place. It matches its kind.
type problem struct {
	at   Position
	text string
	kind error
}

func (p *problem) Error() string { return p.at.String() + ": " + p.text }
func (p *problem) Unwrap() error { return p.kind }

// problems collects what is wrong in a file.
type problems struct {
	file string
	list []*problem
	more int
}

// invalid notes what matches [fs.ErrInvalid].
func (p *problems) invalid(at Position, format string, args ...any) {
	p.add(&problem{at, fmt.Sprintf(format, args...), fs.ErrInvalid})
}

// unsupported notes what matches errors.ErrUnsupported.
func (p *problems) unsupported(at Position, format string, args ...any) {
	p.add(&problem{at, fmt.Sprintf(format, args...), errors.ErrUnsupported})
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
		all = append(all, &problem{last.at, fmt.Sprintf("and %d problems more", p.more), fs.ErrInvalid})
	}
	return errors.Join(all...)
}
