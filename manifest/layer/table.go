package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// maxEntries bounds the entries of one layer.
const maxEntries = 5_000_000

// entry is one node of the layer with the offset of its header.
type entry struct {
	off    int64
	object int32 // index into recipe.Objects
	head   int32 // bytes of header
	node   store.Node
}

// table is the body of a StorePaths recipe: the offset of each entry of the tar. Headers are made again for each range.
type table struct {
	recipe  Recipe
	prefix  []byte // the entries of /nix/ and /nix/store/
	entries []entry
	end     int64 // offset of the zeros at the end
	total   int64
	mark    string
	mem     int64
}

func openTable(ctx context.Context, s store.Store, r Recipe) (body, error) {
	t := &table{recipe: r}
	for _, dir := range []string{"/nix/", store.Dir + "/"} {
		h := t.header(dir, 0o755, typeDirectory)
		t.prefix = h.Append(t.prefix)
	}
	off := int64(len(t.prefix))
	for i := range r.Objects {
		nodes, err := t.nodes(ctx, s, r.Objects[i].Path, maxEntries-len(t.entries))
		if err != nil {
			return nil, err
		}
		for _, nd := range nodes {
			h := t.nodeHeader(i, nd)
			e := entry{off: off, object: int32(i), head: int32(h.paxLen()), node: nd}
			off += int64(e.head) + nd.Size + MemberEnd(nd.Size)
			t.entries = append(t.entries, e)
			t.mem += int64(len(nd.Name)+len(nd.Target)) + 128
		}
	}
	t.end = off
	t.total = off + ArchiveEnd(off)
	t.mark = t.digestStamps()
	return t, nil
}

func (t *table) nodes(ctx context.Context, s store.Store, p store.Path, most int) ([]store.Node, error) {
	tree, err := s.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	var out []store.Node
	for nd, err := range tree.Nodes(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("files of %s: %w", p, err)
		}
		if len(out) == most {
			return nil, fmt.Errorf("files of %s: more than %d in one layer: %w", p, maxEntries, errors.ErrUnsupported)
		}
		out = append(out, nd)
	}
	byName := func(a, b store.Node) int { return comparePython(a.Name, b.Name) }
	if !slices.IsSortedFunc(out, byName) { // NAR order differs only for names that are not UTF-8
		slices.SortFunc(out, byName)
	}
	return out, nil
}

func (t *table) header(name string, mode int64, typ byte) Header {
	o := t.recipe.Owner
	return Header{
		Name: name, Mode: mode, typ: typ, MTime: t.recipe.MTime,
		UID: o.UID, GID: o.GID, Uname: o.Uname, Gname: o.Gname,
	}
}

// nodeHeader sets the modes of a Nix store, so that the layer depends on the NAR only.
func (t *table) nodeHeader(object int, nd store.Node) Header {
	name := t.recipe.Objects[object].Path.Abs()
	if nd.Name != "" {
		name += "/" + nd.Name
	}
	switch nd.Kind {
	case store.Directory:
		return t.header(name+"/", 0o555, typeDirectory)
	case store.Symlink:
		h := t.header(name, 0o777, typeSymlink)
		h.link = nd.Target
		return h
	}
	h := t.header(name, 0o444, typeRegular)
	if nd.Executable {
		h.Mode = 0o555
	}
	h.Size = nd.Size
	return h
}

// digestStamps is a hash of the names, kinds, sizes and stamps of all files. A change of a file's contents changes its stamp.
func (t *table) digestStamps() string {
	h := sha256.New()
	var b []byte
	for _, e := range t.entries {
		b = binary.LittleEndian.AppendUint32(b[:0], uint32(e.object))
		b = append(b, byte(e.node.Kind), 0)
		if e.node.Executable {
			b[len(b)-1] = 1
		}
		for _, text := range []string{e.node.Name, e.node.Target} {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
			b = append(b, text...)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(e.node.Size))
		b = binary.LittleEndian.AppendUint64(b, e.node.Stamp.Inode)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.node.Stamp.Ctime))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (t *table) size() int64 { return t.total }

func (t *table) weight() int64 { return t.mem + int64(len(t.prefix)) + 512 }

func (t *table) stamp() string { return t.mark }

func (t *table) writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error {
	x := &extract{table: t, store: s, direct: w, w: bufio.NewWriterSize(w, writeBuffer), from: off, to: off + n}
	defer x.close()
	if err := x.bytes(0, t.prefix); err != nil {
		return err
	}
	// The range begins in the last entry that starts at or before its offset.
	first := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].off > off }) - 1
	for i := max(first, 0); i < len(t.entries) && t.entries[i].off < x.to; i++ {
		if err := x.entry(ctx, &t.entries[i]); err != nil {
			return err
		}
	}
	if err := x.zeros(t.end, t.total-t.end); err != nil {
		return err
	}
	return x.w.Flush()
}

// extract writes the bytes [from, to) of the tar. Its methods get every part of the tar and leave out the bytes outside.
type extract struct {
	table    *table
	store    store.Store
	direct   io.Writer
	w        *bufio.Writer
	from, to int64
	head     []byte
	tree     store.Tree
	object   int32 // the object of tree
}

func (x *extract) close() {
	if x.tree != nil {
		x.tree.Close()
	}
}

// clip returns the part [a, b) inside the range of the n bytes from off on.
func (x *extract) clip(off, n int64) (a, b int64) {
	a, b = max(x.from-off, 0), min(x.to-off, n)
	return a, max(a, b)
}

func (x *extract) bytes(off int64, p []byte) error {
	a, b := x.clip(off, int64(len(p)))
	if a == b {
		return nil
	}
	_, err := x.w.Write(p[a:b])
	return err
}

var zeroes [recordSize]byte

func (x *extract) zeros(off, n int64) error {
	for n > 0 {
		k := min(n, int64(len(zeroes)))
		if err := x.bytes(off, zeroes[:k]); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func (x *extract) entry(ctx context.Context, e *entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h := x.table.nodeHeader(int(e.object), e.node)
	x.head = h.Append(x.head[:0])
	if err := x.bytes(e.off, x.head); err != nil {
		return err
	}
	start := e.off + int64(e.head)
	if err := x.file(ctx, e, start); err != nil {
		return fmt.Errorf("%s/%s: %w", x.table.recipe.Objects[e.object].Path, e.node.Name, err)
	}
	return x.zeros(start+e.node.Size, MemberEnd(e.node.Size))
}

func (x *extract) file(ctx context.Context, e *entry, start int64) error {
	a, b := x.clip(start, e.node.Size)
	if a == b {
		return nil
	}
	if err := x.open(ctx, e.object); err != nil {
		return err
	}
	if b-a <= writeBuffer/2 {
		return x.tree.WriteFile(ctx, x.w, e.node, a, b-a)
	}
	if err := x.w.Flush(); err != nil {
		return err
	}
	return x.tree.WriteFile(ctx, x.direct, e.node, a, b-a)
}

func (x *extract) open(ctx context.Context, object int32) error {
	if x.tree != nil && x.object == object {
		return nil
	}
	x.close()
	x.tree = nil
	tree, err := x.store.Open(ctx, x.table.recipe.Objects[object].Path)
	if err != nil {
		return err
	}
	x.tree, x.object = tree, object
	return nil
}

// whiteoutPrefix starts the names of whiteouts, which delete a file of a lower layer.
//
// Source: OCI image-spec 1.1, layer.md, Whiteouts.
const whiteoutPrefix = ".wh."

// maxWhiteouts bounds the number of names that are reported.
const maxWhiteouts = 8

// whiteouts returns names of files in the body that runtimes take for whiteouts.
func whiteouts(b body) []string {
	var out []string
	note := func(name string) bool {
		if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
			out = append(out, name)
		}
		return len(out) < maxWhiteouts
	}
	switch b := b.(type) {
	case *table:
		for _, e := range b.entries {
			if !note(b.recipe.Objects[e.object].Path.Abs() + "/" + e.node.Name) {
				break
			}
		}
	case literal:
		tr := tar.NewReader(bytes.NewReader(b))
		for h, err := tr.Next(); err == nil; h, err = tr.Next() {
			if !note(h.Name) {
				break
			}
		}
	}
	return out
}
