package layer

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// exact is the store as a recipe knows it. Between a look at a path's NarHash and the opening of its files a store may
// come to have another build of the path, or another store of a union answer: where the files tell which NAR they are of,
// it has to be the recipe's.
type exact struct {
	store.Store
	recipe *Recipe
}

func (m *Maker) exact(r *Recipe) store.Store { return exact{m.Store, r} }

// Open implements store.Store.
func (e exact) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	t, err := e.Store.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	h, ok := t.(store.Hashed)
	if !ok {
		return t, nil
	}
	for _, refs := range [][]Ref{e.recipe.Objects, e.recipe.Via} {
		i := slices.IndexFunc(refs, func(r Ref) bool { return r.Path == p })
		if i >= 0 && refs[i].NarHash != h.NarHash() {
			t.Close()
			return nil, replaced(p)
		}
	}
	return t, nil
}

func replaced(p store.Path) error { return replacedError(p) }

// replacedError matches fs.ErrNotExist. Its text is for everybody: a client that has the image has the path's name.
type replacedError store.Path

func (e replacedError) Error() string {
	return fmt.Sprintf("store path %s was replaced by one with other contents", string(e))
}
func (e replacedError) Public() string { return e.Error() }
func (e replacedError) Unwrap() error  { return fs.ErrNotExist }
