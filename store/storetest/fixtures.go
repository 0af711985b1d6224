package storetest

import (
	"strings"

	"github.com/nixreg/nixreg/store"
)

// fixtures returns paths with the special cases of a NAR: each kind of root, all kinds of links, names that sort differently as
// strings and as components, names that are not UTF-8, sizes near those of buffers.
func fixtures() []Fixture {
	leaf := NewFixture("leaf-1.0", Files{"share/doc/leaf/README": File("leaf\n")})
	leaf.Deriver = NewFixture("leaf-1.0.drv", Files{"": File("Derive()")}).Path
	leaf.Registered = 1_600_000_000

	odd := NewFixture("odd-3.14", Files{
		"a/b": File("1"), "a-b": File("2"), "a.b": File("3"), "a": Dir(), "A": File("4"), "a b": File(""),
		"\xff\xfe": File("bytes"), "\u00e9": File("two bytes"), "\ue000": File("private use"), "\U0001f600": File("astral"),
		"new\nline": File("x"), "%2e%2e": File("y"), ".wh.gone": File(""), "...": Dir(), "-": Exec(""), strings.Repeat("n", 255): File("long"),
		"empty": Dir(), "deep" + strings.Repeat("/d", 40): Dir(), "deep" + strings.Repeat("/d", 40) + "/f": File("down here"),
		"links/up": Link("../a/b"), "links/dangling": Link("nowhere"), "links/out": Link("/etc/passwd"), "links/dir": Link("../a"),
		"links/loop": Link("loop"), "links/bytes": Link("\xff\n"), "links/lib": Link(leaf.Path.Abs() + "/share"),
	}, Self, leaf.Path)

	sizes := Files{}
	for name, n := range map[string]int{
		"1": 1, "7": 7, "8": 8, "4095": 4095, "4096": 4096, "4097": 4097, "65535": 65535, "65536": 65536, "65537": 65537, "300000": 300000,
	} {
		sizes[name] = Exec(pattern(n))
	}
	big := NewFixture("sizes-1", sizes, odd.Path)

	file := NewFixture("script.sh", Files{"": Exec("#!/bin/sh\n")}, leaf.Path)
	text := NewFixture("text", Files{"": File("text")})
	text.CA = "text:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s"
	link := NewFixture("link-1", Files{"": Link(leaf.Path.Abs())}, leaf.Path)
	empty := NewFixture("empty-0", Files{})
	return []Fixture{leaf, odd, big, file, text, link, empty}
}

// pattern returns n pseudorandom bytes, so that a read at a wrong offset is found.
func pattern(n int) string {
	var b strings.Builder
	b.Grow(n)
	x := uint32(n)
	for range n {
		x = x*1664525 + 1013904223
		b.WriteByte(byte(x >> 24))
	}
	return b.String()
}

// absent is a well-formed path that is not among the fixtures.
const absent store.Path = "00000000000000000000000000000000-absent"
