package binarycache

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// What an archive may have at most. Nothing that a file system of Linux can hold goes beyond the first four.
const (
	maxName   = 255  // bytes of one name
	maxPath   = 4096 // bytes of a name from the store path on
	maxTarget = 4096 // bytes
	maxDepth  = 1024 // directories in one another
	maxNodes  = 1 << 20
	maxText   = 128 << 20 // bytes of all names and targets, as an index of the archive holds them
)

// narNode is a node of an archive and, for a regular file, the place of its contents there.
type narNode struct {
	store.Node
	offset int64
}

// parseNAR reads a whole archive and calls visit for each node in its order, before the node's contents are read; an
// error of visit ends it and is returned. If r is an [io.Seeker], contents are passed over. Only the one archive that Nix would write of the same files is accepted:
// what differs from it in any way gives an error matching [ErrCorrupt].
//
// Source: Nix manual, "Nix Archive (NAR) format".
func parseNAR(r io.Reader, visit func(narNode) error) error {
	p := &narParser{src: r, r: bufio.NewReaderSize(r, 64<<10), visit: visit}
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

type narParser struct {
	src   io.Reader
	seek  io.Seeker     // src, if it can
	r     *bufio.Reader // of src
	visit func(narNode) error
	word  [16]byte // what is read of the format's own, so that it is not allocated each time
	off   int64
	nodes int
	text  int
}

// node reads what stands between "(" and ")".
func (p *narParser) node(name string, depth int) error {
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

func (p *narParser) regular(name string) error {
	nd := narNode{Node: store.Node{Name: name, Kind: store.Regular}}
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
	nd.offset = p.off
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

func (p *narParser) symlink(name string) error {
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
	if err := p.found(narNode{Node: store.Node{Name: name, Kind: store.Symlink, Target: target}}); err != nil {
		return err
	}
	return p.expect(")")
}

func (p *narParser) directory(name string, depth int) error {
	if depth >= maxDepth {
		return corrupt("more than %d directories in one another", maxDepth)
	}
	if err := p.found(narNode{Node: store.Node{Name: name, Kind: store.Directory}}); err != nil {
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

// entry reads one entry of the directory dir and returns its name, which has to come after the last one.
func (p *narParser) entry(dir, last string, depth int) (string, error) {
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

func (p *narParser) found(nd narNode) error {
	p.nodes++
	p.text += len(nd.Name) + len(nd.Target)
	if p.nodes > maxNodes || p.text > maxText {
		return corrupt("too many files: %d with names of %d bytes", p.nodes, p.text)
	}
	return p.visit(nd)
}
