package main

import (
	"encoding/binary"
	"maps"
	"slices"
)

// file is a node of a tree that is to become a NAR: the one that has children, a target or neither.
type file struct {
	children   map[string]*file
	target     string
	content    []byte
	executable bool
}

// folder makes a directory of pairs: a string and a *file.
func folder(pairs ...any) *file {
	f := &file{children: make(map[string]*file)}
	for i := 0; i < len(pairs); i += 2 {
		f.children[pairs[i].(string)] = pairs[i+1].(*file)
	}
	return f
}

func plain(b []byte) *file      { return &file{content: b} }
func executable(b []byte) *file { return &file{content: b, executable: true} }
func link(target string) *file  { return &file{target: target} }

// nar is the tree as a Nix archive.
func (f *file) nar() []byte { return f.append(appendStrings(nil, "nix-archive-1")) }

func (f *file) append(b []byte) []byte {
	switch {
	case f.children != nil:
		b = appendStrings(b, "(", "type", "directory")
		for _, name := range slices.Sorted(maps.Keys(f.children)) {
			b = appendStrings(b, "entry", "(", "name", name, "node")
			b = f.children[name].append(b)
			b = appendStrings(b, ")")
		}
	case f.target != "":
		b = appendStrings(b, "(", "type", "symlink", "target", f.target)
	default:
		b = appendStrings(b, "(", "type", "regular")
		if f.executable {
			b = appendStrings(b, "executable", "")
		}
		b = appendStrings(b, "contents", string(f.content))
	}
	return appendStrings(b, ")")
}

func appendStrings(b []byte, list ...string) []byte {
	for _, s := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, -len(s)&7)...)
	}
	return b
}
