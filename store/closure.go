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

// Closure returns the objects of roots and of all paths that they refer to, each once, sorted by path.
// A reference that is not valid in s gives an error matching [io/fs.ErrNotExist]. A distant store is asked for several
// objects at a time; no request is running when Closure returns. Of several errors the first one is returned.
func Closure(ctx context.Context, s Store, roots ...Path) ([]*Object, error) {
	w := closureWalk{store: s, seen: make(map[Path]bool), follow: true}
	out, err := w.walk(ctx, roots)
	if err != nil {
		return nil, fmt.Errorf("closure: %w", err)
	}
	return out, nil
}

// Objects returns the objects of paths, each once, sorted by path. Unlike [Closure] it does not follow references.
func Objects(ctx context.Context, s Store, paths ...Path) ([]*Object, error) {
	w := closureWalk{store: s, seen: make(map[Path]bool)}
	return w.walk(ctx, paths)
}

// closureWalk asks for the objects of paths.
type closureWalk struct {
	store  Store
	follow bool // to the references of each object
	seen   map[Path]bool
	todo   []Path // seen, not asked for yet
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

// inTurn asks for one object after the other. A near store answers in microseconds: goroutines would be slower.
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

// answer is the result of one goroutine of abreast.
type answer struct {
	object *Object
	err    error
}

// abreast asks for up to closureWidth objects at a time. It waits for all its requests.
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
		case failed == nil: // the other requests are cancelled
			failed = a.err
			cancel()
		}
	}
	return failed
}

// ask makes an error of a panic, which would end the process on this goroutine.
func (w *closureWalk) ask(ctx context.Context, p Path) (a answer) {
	defer func() {
		if v := recover(); v != nil {
			a = answer{err: fmt.Errorf("object %s: panic: %v\n%s", p, v, debug.Stack())}
		}
	}()
	o, err := w.store.Object(ctx, p)
	return answer{o, err}
}
