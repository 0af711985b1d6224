package packages

import (
	"strings"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

const (
	// Latest is the tag of the highest version.
	Latest = "latest"
	// MaxComponents bounds a composite such as git/hello.
	MaxComponents = 32
)

// SplitName is Nix's parseDrvName: the version starts after the first dash that no letter follows.
//
// Source: Nix, libexpr/names.cc, DrvName::DrvName.
func SplitName(s string) (name, version string) {
	for i := range len(s) - 1 {
		if s[i] == '-' && !letter(s[i+1]) {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

// CompareVersions is Nix's: component by component, numbers as numbers, "pre" before everything else, and a number
// after a word.
//
// Source: Nix, libexpr/names.cc, compareVersions.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = nextComponent(a)
		y, b = nextComponent(b)
		if componentLess(x, y) {
			return -1
		}
		if componentLess(y, x) {
			return 1
		}
	}
	return 0
}

// nextComponent takes a run of digits, or one of neither digits nor separators, off s.
func nextComponent(s string) (c, rest string) {
	s = strings.TrimLeft(s, ".-")
	n := 0
	for n < len(s) && s[n] != '.' && s[n] != '-' && digit(s[n]) == digit(s[0]) {
		n++
	}
	return s[:n], s[n:]
}

func componentLess(a, b string) bool {
	numA, numB := a != "" && digit(a[0]), b != "" && digit(b[0])
	switch {
	case numA && numB:
		return numberLess(a, b)
	case a == "" && numB:
		return true
	case a == "pre" && b != "pre":
		return true
	case b == "pre":
		return false
	case numB: // 2.3a < 2.3.1
		return true
	case numA:
		return false
	}
	return a < b
}

// numberLess compares digits of any length.
func numberLess(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// RepositoryName spells a package's name as the distribution spec's grammar allows: lower case, each run of what it
// forbids becomes "_", none of that at the ends. "" if nothing is left.
func RepositoryName(name string) string {
	var b strings.Builder
	name = strings.ToLower(name)
	for i := 0; i < len(name); {
		n := i
		for n < len(name) && alnum(name[n]) == alnum(name[i]) {
			n++
		}
		run := name[i:n]
		if !alnum(name[i]) {
			run = separator(run)
			if i == 0 || n == len(name) {
				run = ""
			}
		}
		b.WriteString(run)
		i = n
	}
	return b.String()
}

// PulledName is how clients pull what a definition calls name: each component as [RepositoryName] spells it.
func PulledName(name string) string {
	components := strings.Split(name, "/")
	for i, c := range components {
		components[i] = RepositoryName(c)
	}
	return strings.Join(components, "/")
}

func alnum(c byte) bool { return 'a' <= c && c <= 'z' || digit(c) }

// separator is run if the grammar allows it between letters and digits, else "_".
func separator(run string) string {
	if run == "." || run == "_" || run == "__" || strings.Trim(run, "-") == "" {
		return run
	}
	return "_"
}

// TagName spells a version as a tag, "" if it cannot be one.
func TagName(version string) string {
	tag := strings.ReplaceAll(version, "+", "_")
	if !oci.IsTag(tag) {
		return ""
	}
	return tag
}

// usualOutputs are the outputs whose suffix is taken for one where the deriver is unknown.
var usualOutputs = []string{"bin", "dev", "devdoc", "doc", "debug", "info", "lib", "man", "static"}

// identity is what a store path is called: package, version, and output ("" for out).
type identity struct{ name, version, output string }

// identify reads the name of a store path. Its deriver, where known, tells which part of it is an output's name.
func identify(e store.Entry) identity {
	full := e.Path.Name()
	base, output := full, ""
	if e.Deriver != "" {
		drv := strings.TrimSuffix(e.Deriver.Name(), ".drv")
		if rest, ok := strings.CutPrefix(full, drv+"-"); ok {
			base, output = drv, rest
		}
	} else {
		for _, o := range usualOutputs {
			if cut, ok := strings.CutSuffix(full, "-"+o); ok && cut != "" {
				base, output = cut, o
			}
		}
	}
	name, version := SplitName(base)
	return identity{name, version, output}
}

// tag is the tag of an identity, "" if it has none of its own.
func (id identity) tag() string {
	switch {
	case id.output == "":
		return TagName(id.version)
	case id.version == "":
		return TagName(id.output)
	}
	return TagName(id.version + "-" + id.output)
}

// offered reports whether a path may have a name at all: no derivations, no sources. Whether it is a directory is seen
// when it is asked for.
func offered(e store.Entry) bool {
	return !strings.HasSuffix(e.Path.Name(), ".drv") && e.CA == ""
}

// First components of repositories that are no packages' names.
const (
	// Shell is that of images with an interactive shell: shell/git.
	Shell = "shell"
	// storeComponent is that of paths by their hash: store/<hash>.
	storeComponent = "store"
)

// Reserved reports whether a component, where it comes first in a repository's name, stands for something else than a package
// or a mirror. The names of architectures are kept for later.
func Reserved(component string) bool {
	return component == storeComponent || component == Shell || program.IsArchitecture(component)
}
