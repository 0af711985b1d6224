package storetest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// held is the number of last bytes that WriteFile writes only after a second check of the file.
const held = 4 << 10

// tree reads the current files of the store, like a directory on disk, and not those at the time of Open.
type tree struct {
	m *Memory
	p store.Path
}

// Nodes implements store.Tree.
func (t *tree) Nodes(ctx context.Context, under string) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		nodes := t.nodes(under)
		if len(nodes) == 0 {
			yield(store.Node{}, fmt.Errorf("%s: %.300q: %w", t.p, under, fs.ErrNotExist))
			return
		}
		for _, nd := range nodes {
			if err := ctx.Err(); err != nil {
				yield(store.Node{}, err)
				return
			}
			if !yield(nd, nil) {
				return
			}
		}
	}
}

func (t *tree) nodes(under string) []store.Node {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	o, ok := t.m.objects[t.p]
	if !ok {
		return nil
	}
	if under == "" {
		return slices.Clone(o.nodes)
	}
	var out []store.Node
	for _, nd := range o.nodes {
		if nd.Name == under || strings.HasPrefix(nd.Name, under+"/") {
			out = append(out, nd)
		}
	}
	return out
}

// WriteFile implements store.Tree.
func (t *tree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if nd.Kind != store.Regular || off < 0 || n < 0 || off > nd.Size || n > nd.Size-off {
		return fmt.Errorf("%s: %q: bytes %d+%d of %d: %w", t.p, nd.Name, off, n, nd.Size, fs.ErrInvalid)
	}
	for _, part := range []int64{n - min(n, held), min(n, held)} {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, ok := t.read(nd)
		if !ok {
			return fmt.Errorf("%s: %q: %w", t.p, nd.Name, store.ErrChanged)
		}
		if _, err := w.Write([]byte(data[off : off+part])); err != nil {
			return err
		}
		off += part
	}
	return nil
}

// read returns the contents of nd if the file is unchanged.
func (t *tree) read(nd store.Node) (string, bool) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	o, ok := t.m.objects[t.p]
	if !ok {
		return "", false
	}
	if !slices.Contains(o.nodes, nd) {
		return "", false
	}
	return o.data[nd.Name], true
}

// Close implements store.Tree.
func (t *tree) Close() error { return nil }
