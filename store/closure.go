package store

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// closureWidth bounds how many objects of a distant store are asked for at the same time.
const closureWidth = 32

// Closure returns the objects of roots and of everything they refer to, each once, sorted by path.
// A reference that is not valid in s gives an error matching [io/fs.ErrNotExist]. A distant store is asked for several
// objects at a time; all of these have been answered when Closure returns. Of several errors one is returned, and not
// those that follow from giving up.
func Closure(ctx context.Context, s Store, roots ...Path) ([]*Object, error) {
	w := closureWalk{store: s, seen: make(map[Path]bool), follow: true}
	out, err := w.walk(ctx, roots)
	if err != nil {
		return nil, fmt.Errorf("closure: %w", err)
	}
	return out, nil
}

// Objects returns the objects of paths, each once, sorted by path, as [Closure] does of all that they refer to.
func Objects(ctx context.Context, s Store, paths ...Path) ([]*Object, error) {
	w := closureWalk{store: s, seen: make(map[Path]bool)}
	return w.walk(ctx, paths)
}

// closureWalk goes from objects to those they refer to, if it is to follow.
type closureWalk struct {
	store  Store
	follow bool
	seen   map[Path]bool
	todo   []Path // seen, but not asked for
	out    []*Object
}

func (w *closureWalk) walk(ctx context.Context, from []Path) ([]*Object, error) {
	w.add(from)
	var err error
	if IsDistant(w.store) {
		err = w.abreast(ctx)
	} else {
		err = w.inTurn(ctx)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(w.out, func(a, b *Object) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return w.out, nil
}

func (w *closureWalk) add(paths []Path) {
	for _, p := range paths {
		if !w.seen[p] {
			w.seen[p] = true
			w.todo = append(w.todo, p)
		}
	}
}

func (w *closureWalk) take() Path {
	last := len(w.todo) - 1
	p := w.todo[last]
	w.todo = w.todo[:last]
	return p
}

func (w *closureWalk) found(o *Object) {
	w.out = append(w.out, o)
	if w.follow {
		w.add(o.References)
	}
}

// inTurn asks for one object after the other: where that takes microseconds, more at a time would be slower.
func (w *closureWalk) inTurn(ctx context.Context) error {
	for len(w.todo) > 0 {
		o, err := w.store.Object(ctx, w.take())
		if err != nil {
			return err
		}
		w.found(o)
	}
	return nil
}

// answer is what one goroutine of abreast found.
type answer struct {
	object *Object
	err    error
}

// abreast asks for up to closureWidth objects at a time. It waits for those that it asked.
func (w *closureWalk) abreast(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer)
	var failed error
	for asked := 0; asked > 0 || len(w.todo) > 0 && failed == nil; {
		if asked < closureWidth && len(w.todo) > 0 && failed == nil {
			p := w.take()
			asked++
			go func() { answers <- w.ask(ctx, p) }()
			continue
		}
		a := <-answers
		asked--
		switch {
		case a.err == nil:
			w.found(a.object)
		case failed == nil: // the others give up for its sake
			failed = a.err
			cancel()
		}
	}
	return failed
}

// ask makes an error of a panic: on a goroutine of our own nobody else would, and the process would end.
func (w *closureWalk) ask(ctx context.Context, p Path) (a answer) {
	defer func() {
		if v := recover(); v != nil {
			a = answer{err: fmt.Errorf("object %s: panic: %v\n%s", p, v, debug.Stack())}
		}
	}()
	o, err := w.store.Object(ctx, p)
	return answer{o, err}
}
