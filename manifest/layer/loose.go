package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/nixreg/nixreg/store"
)

func (m *Maker) loose(p store.Path) bool { return m.Loose != nil && m.Loose(p) }

func (m *Maker) isLoose(r Recipe) bool {
	return slices.ContainsFunc(r.Objects, func(ref Ref) bool { return m.loose(ref.Path) })
}

// Pinned returns the recipe of one file, Verbatim, so that what else changes in a loose path makes no other recipe of it:
// in the place of the path's NarHash it has a hash of the state of that file. Other recipes stay as they are.
func (m *Maker) Pinned(ctx context.Context, r Recipe) (Recipe, error) {
	if r.Format != Verbatim || !m.isLoose(r) {
		return r, nil
	}
	b, err := m.openFile(ctx, r)
	if err != nil {
		return r, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %s", r.File, b.stamp()))
	r.Objects = []Ref{{Path: r.Objects[0].Path, NarHash: store.Hash(sum)}}
	return r, nil
}

// replaced says of bytes of a loose path that cannot be read as they were that they are not there any more: something
// else lies in their place.
func (m *Maker) replaced(r Recipe, err error) error {
	for _, kind := range []error{fs.ErrInvalid, errors.ErrUnsupported, io.ErrUnexpectedEOF} {
		if errors.Is(err, kind) && m.isLoose(r) {
			return fmt.Errorf("layer%s: its files were changed: %v: %w", r.first(), err, fs.ErrNotExist)
		}
	}
	return err
}
