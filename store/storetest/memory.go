package storetest

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"sync"

	"github.com/nixreg/nixreg/store"
)

// Memory is a store.Store in memory. Changes take effect at once. Safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	objects map[store.Path]*object
	order   []store.Path
	clock   int64 // the number of changes, for stamps and states
}

type object struct {
	obj   store.Object
	nodes []store.Node
	data  map[string]string
}

// New returns an empty store.
func New() *Memory { return &Memory{objects: make(map[store.Path]*object)} }

// Add adds a path with this name, files and references, and returns it. The references may be absent. The same arguments give the
// same path. Use [NewFixture] and [Memory.Put] to set deriver, time or content address.
func (m *Memory) Add(name string, files Files, refs ...store.Path) store.Path {
	return m.Put(NewFixture(name, files, refs...))
}

// Put adds f or replaces the path, and returns the path.
func (m *Memory) Put(f Fixture) store.Path {
	if _, err := store.ParsePath(string(f.Path)); err != nil {
		panic(err)
	}
	o := &object{
		obj:   store.Object{Entry: f.Entry, References: f.references()},
		nodes: f.Files.Nodes(),
		data:  make(map[string]string),
	}
	for i, nd := range o.nodes {
		if nd.Kind == store.Regular {
			o.data[nd.Name] = f.Files[nd.Name].Data
			o.nodes[i].Stamp.Inode = uint64(i + 1)
		}
	}
	alone := &tree{m: &Memory{objects: map[store.Path]*object{f.Path: o}}, p: f.Path}
	var err error
	if o.obj.NarHash, o.obj.NarSize, err = HashNAR(context.Background(), alone); err != nil {
		panic(err)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	for i := range o.nodes {
		if o.nodes[i].Kind == store.Regular {
			o.nodes[i].Stamp.Ctime = m.clock
		}
	}
	m.remove(f.Path)
	m.objects[f.Path] = o
	m.order = append(m.order, f.Path)
	return f.Path
}

// Edit changes the Object of p: deriver, time, references, even to a wrong hash. The path stays.
func (m *Memory) Edit(p store.Path, change func(*store.Object)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	change(&m.must(p).obj)
}

// Delete removes p if it exists. An open Tree of it behaves like one on a disk.
func (m *Memory) Delete(p store.Path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	m.remove(p)
}

// Change replaces the contents of a regular file in p as a broken disk or user would. The node gets a new size and stamp, so that
// reads with the old node fail with store.ErrChanged. NarHash and State do not change.
func (m *Memory) Change(p store.Path, name, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.must(p)
	i := slices.IndexFunc(o.nodes, func(nd store.Node) bool { return nd.Name == name && nd.Kind == store.Regular })
	if i < 0 {
		panic(fmt.Sprintf("storetest: %s has no regular file %q", p, name))
	}
	nd := &o.nodes[i]
	nd.Size = int64(len(data))
	nd.Stamp.Inode += 1 << 32
	o.data[name] = data
}

func (m *Memory) must(p store.Path) *object {
	o, ok := m.objects[p]
	if !ok {
		panic(fmt.Sprintf("storetest: %s was never added", p))
	}
	return o
}

func (m *Memory) remove(p store.Path) {
	delete(m.objects, p)
	m.order = slices.DeleteFunc(m.order, func(q store.Path) bool { return p == q })
}

// Find implements store.Store.
func (m *Memory) Find(ctx context.Context, hash string) (store.Path, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.order {
		if p.Hash() == hash {
			return p, ctx.Err()
		}
	}
	return "", fmt.Errorf("find %.100q: %w", hash, fs.ErrNotExist)
}

// Object implements store.Store.
func (m *Memory) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[p]
	if !ok {
		return nil, fmt.Errorf("object %s: %w", p, fs.ErrNotExist)
	}
	obj := o.obj
	obj.References = slices.Clone(obj.References)
	return &obj, ctx.Err()
}

// List implements store.Store. It yields the paths in the order in which they were added.
func (m *Memory) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		m.mu.Lock()
		entries := make([]store.Entry, 0, len(m.order))
		for _, p := range m.order {
			entries = append(entries, m.objects[p].obj.Entry)
		}
		m.mu.Unlock()
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield(store.Entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// State implements store.Store.
func (m *Memory) State(ctx context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strconv.FormatInt(m.clock, 10), ctx.Err()
}

// Open implements store.Store.
func (m *Memory) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	if _, err := m.Object(ctx, p); err != nil {
		return nil, err
	}
	return &tree{m: m, p: p}, nil
}
