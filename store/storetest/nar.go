package storetest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// WriteNAR writes t to w as a NAR, in the order in which t yields its nodes. So a tree with a wrong order gets a wrong hash.
//
// Source: Nix manual, "Nix Archive (NAR) format"; E. Dolstra, The Purely Functional Software Deployment Model, 5.2.1.
func WriteNAR(ctx context.Context, w io.Writer, t store.Tree) error {
	n := narWriter{w: bufio.NewWriterSize(w, 64<<10)}
	n.strings("nix-archive-1")
	empty := true
	for nd, err := range t.Nodes(ctx, "") {
		if err != nil {
			return fmt.Errorf("write nar: %w", err)
		}
		empty = false
		if err := n.node(ctx, t, nd); err != nil {
			return fmt.Errorf("write nar: %q: %w", nd.Name, err)
		}
	}
	if empty {
		return fmt.Errorf("write nar: no nodes: %w", fs.ErrInvalid)
	}
	for len(n.open) > 0 {
		n.closeDir()
	}
	if err := n.w.Flush(); err != nil {
		return fmt.Errorf("write nar: %w", err)
	}
	return nil
}

// HashNAR returns the hash and the size of the NAR of t.
func HashNAR(ctx context.Context, t store.Tree) (store.Hash, int64, error) {
	h := sha256.New()
	c := &counter{w: h}
	err := WriteNAR(ctx, c, t)
	return store.Hash(h.Sum(nil)), c.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// narWriter ignores write errors, because bufio keeps the first one until Flush.
type narWriter struct {
	w    *bufio.Writer
	open []string // names of the open directories
}

func (n *narWriter) node(ctx context.Context, t store.Tree, nd store.Node) error {
	root := nd.Name == ""
	for !root && len(n.open) > 0 && n.open[len(n.open)-1] != parent(nd.Name) {
		n.closeDir()
	}
	if !root {
		if len(n.open) == 0 {
			return fmt.Errorf("its directory was not yielded before it: %w", fs.ErrInvalid)
		}
		n.strings("entry", "(", "name", path.Base(nd.Name), "node")
	}
	switch nd.Kind {
	case store.Directory:
		n.strings("(", "type", "directory")
		n.open = append(n.open, nd.Name)
		return nil
	case store.Symlink:
		n.strings("(", "type", "symlink", "target", nd.Target, ")")
	case store.Regular:
		if err := n.regular(ctx, t, nd); err != nil {
			return err
		}
	default:
		return fmt.Errorf("kind %d: %w", nd.Kind, fs.ErrInvalid)
	}
	if !root {
		n.strings(")")
	}
	return nil
}

func (n *narWriter) regular(ctx context.Context, t store.Tree, nd store.Node) error {
	n.strings("(", "type", "regular")
	if nd.Executable {
		n.strings("executable", "")
	}
	n.strings("contents")
	n.length(nd.Size)
	if err := t.WriteFile(ctx, n.w, nd, 0, nd.Size); err != nil {
		return err
	}
	n.pad(nd.Size)
	n.strings(")")
	return nil
}

func (n *narWriter) closeDir() {
	top := n.open[len(n.open)-1]
	n.open = n.open[:len(n.open)-1]
	n.strings(")")
	if top != "" {
		n.strings(")")
	}
}

func (n *narWriter) strings(ss ...string) {
	for _, s := range ss {
		n.length(int64(len(s)))
		n.w.WriteString(s)
		n.pad(int64(len(s)))
	}
}

func (n *narWriter) length(l int64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(l))
	n.w.Write(b[:])
}

func (n *narWriter) pad(l int64) {
	var zero [8]byte
	n.w.Write(zero[:-l&7])
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}
