// Package nar reads Nix archives (NARs) and undoes the compressions that binary caches store them in.
//
// It owns the NAR format, the index of an archive's nodes, and the memory bounds of the decompressors. It must not know where
// an archive comes from, how it is verified, or where it is kept.
//
//	r, err := nar.Zstd.Open(file, size)
//	defer r.Close()
//	index, err := nar.ReadIndex(r)
//	i, ok := index.Find("bin/hello")
package nar

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// ErrCorrupt is matched by errors about an archive that is not the one that Nix would write of the same files.
var ErrCorrupt = errors.New("corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrCorrupt)...)
}

// Limits of an archive. The first four are those of Linux file systems.
const (
	maxName   = 255  // bytes of one name
	maxPath   = 4096 // bytes of a file's whole name in the archive
	maxTarget = 4096 // bytes of a link's target
	maxDepth  = 1024 // nested directories
	maxNodes  = 1 << 20
	maxText   = 128 << 20 // bytes of all names and targets together
)

// Node is a file, link or directory of an archive. Offset is the place of a regular file's contents in the archive, in bytes.
type Node struct {
	store.Node
	Offset int64
}

// parse reads a whole archive and calls visit for each node in archive order, before it reads the node's contents. An error of
// visit ends the parse and is returned. If r is an [io.Seeker], contents are skipped by seeking. An archive that differs in any
// way from the one that Nix would write of the same files gives an error matching [ErrCorrupt].
//
// Source: Nix manual, "Nix Archive (NAR) format".
func parse(r io.Reader, visit func(Node) error) error {
	p := &parser{src: r, r: bufio.NewReaderSize(r, 64<<10), visit: visit}
	p.seek, _ = r.(io.Seeker)
	err := p.expect("nix-archive-1")
	if err == nil {
		err = p.node("", 0)
	}
	if err == nil {
		if _, err = p.r.ReadByte(); err == io.EOF {
			return nil
		} else if err == nil {
			err = corrupt("bytes after its end")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = corrupt("it ends too early")
	}
	return fmt.Errorf("archive at byte %d: %w", p.off, err)
}

type parser struct {
	src   io.Reader
	seek  io.Seeker     // src, nil if it cannot seek
	r     *bufio.Reader // of src
	visit func(Node) error
	word  [16]byte // buffer for keywords, lengths and padding
	off   int64    // of the next byte
	nodes int      // visited so far
	text  int      // bytes of names and targets so far
}

// node reads one node, from "(" to ")".
func (p *parser) node(name string, depth int) error {
	if err := p.expect("(", "type"); err != nil {
		return err
	}
	kind, err := p.token()
	if err != nil {
		return err
	}
	switch kind {
	case "regular":
		return p.regular(name)
	case "symlink":
		return p.symlink(name)
	case "directory":
		return p.directory(name, depth)
	}
	return corrupt("type %q", kind)
}

func (p *parser) regular(name string) error {
	nd := Node{Node: store.Node{Name: name, Kind: store.Regular}}
	tag, err := p.token()
	if err == nil && tag == "executable" {
		nd.Executable = true
		if err = p.expect(""); err == nil {
			tag, err = p.token()
		}
	}
	if err != nil {
		return err
	}
	if tag != "contents" {
		return corrupt("%q where contents should be", tag)
	}
	if nd.Size, err = p.length(math.MaxInt64 - 8); err != nil {
		return err
	}
	nd.Offset = p.off
	if err := p.found(nd); err != nil {
		return err
	}
	if err := p.skip(nd.Size); err != nil {
		return err
	}
	if err := p.padding(nd.Size); err != nil {
		return err
	}
	return p.expect(")")
}

func (p *parser) symlink(name string) error {
	if err := p.expect("target"); err != nil {
		return err
	}
	target, err := p.string(maxTarget)
	if err != nil {
		return err
	}
	if target == "" || strings.IndexByte(target, 0) >= 0 {
		return corrupt("link target %q", target)
	}
	if err := p.found(Node{Node: store.Node{Name: name, Kind: store.Symlink, Target: target}}); err != nil {
		return err
	}
	return p.expect(")")
}

func (p *parser) directory(name string, depth int) error {
	if depth >= maxDepth {
		return corrupt("more than %d directories in one another", maxDepth)
	}
	if err := p.found(Node{Node: store.Node{Name: name, Kind: store.Directory}}); err != nil {
		return err
	}
	last := ""
	for {
		tag, err := p.token()
		switch {
		case err != nil:
			return err
		case tag == ")":
			return nil
		case tag != "entry":
			return corrupt("%q where an entry should be", tag)
		}
		if last, err = p.entry(name, last, depth); err != nil {
			return err
		}
	}
}

// entry reads one entry of the directory dir and returns its name. Names must ascend: the name must follow last.
func (p *parser) entry(dir, last string, depth int) (string, error) {
	if err := p.expect("(", "name"); err != nil {
		return "", err
	}
	name, err := p.string(maxName)
	if err != nil {
		return "", err
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", corrupt("name %q", name)
	}
	if name <= last {
		return "", corrupt("name %q after %q", name, last)
	}
	full := name
	if dir != "" {
		full = dir + "/" + name
	}
	if len(full) > maxPath {
		return "", corrupt("name longer than %d bytes: %.100q…", maxPath, full)
	}
	if err := p.expect("node"); err != nil {
		return "", err
	}
	if err := p.node(full, depth+1); err != nil {
		return "", err
	}
	return name, p.expect(")")
}

// found counts a node against the limits and passes it to visit.
func (p *parser) found(nd Node) error {
	p.nodes++
	p.text += len(nd.Name) + len(nd.Target)
	if p.nodes > maxNodes || p.text > maxText {
		return corrupt("too many files: %d with names of %d bytes", p.nodes, p.text)
	}
	return p.visit(nd)
}

// keywords of the format.
var keywords = [...]string{"(", ")", "", "type", "regular", "executable", "contents", "symlink", "target", "directory", "entry", "name", "node", "nix-archive-1"}

// expect reads the strings of want.
func (p *parser) expect(want ...string) error {
	for _, w := range want {
		got, err := p.token()
		if err != nil {
			return err
		}
		if got != w {
			return corrupt("%q where %q should be", got, w)
		}
	}
	return nil
}

// token reads a string that is no longer than the longest keyword.
func (p *parser) token() (string, error) {
	n, err := p.length(int64(len("nix-archive-1")))
	if err != nil {
		return "", err
	}
	b := p.word[:n]
	if err := p.read(b); err != nil {
		return "", err
	}
	i := slices.IndexFunc(keywords[:], func(k string) bool { return k == string(b) })
	if i < 0 {
		return string(b), p.padding(n)
	}
	return keywords[i], p.padding(n) // without an allocation
}

// string reads a string of at most limit bytes.
func (p *parser) string(limit int) (string, error) {
	n, err := p.length(int64(limit))
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	if err := p.read(b); err != nil {
		return "", err
	}
	return string(b), p.padding(n)
}

// length reads the length of a string, which must not exceed limit.
func (p *parser) length(limit int64) (int64, error) {
	b := p.word[:8]
	if err := p.read(b); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(limit) {
		return 0, corrupt("length %d, at most %d are allowed", n, limit)
	}
	return int64(n), nil
}

// padding reads the zero bytes that follow n bytes, up to a multiple of eight.
func (p *parser) padding(n int64) error {
	pad := p.word[:-n&7]
	if err := p.read(pad); err != nil {
		return err
	}
	for _, b := range pad {
		if b != 0 {
			return corrupt("padding is not zero")
		}
	}
	return nil
}

// skip skips n bytes. If the reader can seek, they are not read: the bytes after them show that the archive is complete.
func (p *parser) skip(n int64) error {
	p.off += n
	if ahead := n - int64(p.r.Buffered()); p.seek != nil && ahead > int64(p.r.Size()) {
		if _, err := p.seek.Seek(ahead, io.SeekCurrent); err != nil {
			return io.ErrUnexpectedEOF // no file is that long
		}
		p.r.Reset(p.src)
		return nil
	}
	_, err := io.CopyN(io.Discard, p.r, n)
	return err
}

func (p *parser) read(b []byte) error {
	n, err := io.ReadFull(p.r, b)
	p.off += int64(n)
	return err
}
