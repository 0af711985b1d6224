package packages

import (
	"cmp"
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

// SplitName splits a name like Nix's parseDrvName. The version starts behind the first dash that is not before a letter.
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

// CompareVersions compares like Nix: component by component, numbers by value, "pre" before all others, and a number after a word.
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

// nextComponent cuts a run of digits, or a run of other characters than digits and separators, from s.
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

// numberLess compares numbers of any length.
func numberLess(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// RepositoryName returns a package's name in the grammar of the OCI distribution specification: in lower case, with "_" for each
// run of other characters, and without runs at the ends. It may be "".
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

// PulledName returns the name that clients pull for a name in a definition: each component as in [RepositoryName].
func PulledName(name string) string {
	components := strings.Split(name, "/")
	for i, c := range components {
		components[i] = RepositoryName(c)
	}
	return strings.Join(components, "/")
}

func alnum(c byte) bool { return 'a' <= c && c <= 'z' || digit(c) }

// separator returns run if the grammar allows it between letters and digits, else "_".
func separator(run string) string {
	if run == "." || run == "_" || run == "__" || strings.Trim(run, "-") == "" {
		return run
	}
	return "_"
}

// TagName returns a version as a tag, or "" if it cannot be one.
func TagName(version string) string {
	tag := strings.ReplaceAll(version, "+", "_")
	if !oci.IsTag(tag) {
		return ""
	}
	return tag
}

// usualOutputs are the suffixes that are taken for outputs if the deriver is unknown.
var usualOutputs = []string{"bin", "dev", "devdoc", "doc", "debug", "info", "lib", "man", "static"}

// The ranks of outputs: the lowest one is the output that a bare name means.
const (
	rankTold = iota // a channel or a build tells it
	rankBin         // nixpkgs keeps the programs of a package of several outputs there
	rankOut
	rankOther
	rankDoc // never meant while there is another one
)

func outputRank(output string) int {
	switch output {
	case "bin":
		return rankBin
	case "":
		return rankOut
	case "man", "doc", "devdoc", "devman", "info", "debug":
		return rankDoc
	}
	return rankOther
}

// identity is the name of a store path in parts: package, version, and output ("" for out).
type identity struct{ name, version, output string }

// identify splits the name of a store path. The deriver, or the channel's name of the output, tells the output if it is known.
func identify(e store.Entry, told string) identity {
	full := e.Path.Name()
	base, output := full, ""
	if told != "" {
		if cut, ok := strings.CutSuffix(full, "-"+told); ok && told != "out" && cut != "" {
			base, output = cut, told
		}
	} else if e.Deriver != "" {
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

// versionTag returns the tag of the main output of an identity's version, or "" if it has none.
func (id identity) versionTag() string { return TagName(id.version) }

// outputTag returns the tag of an identity's output, or "" if it has none.
func (id identity) outputTag() string {
	output := cmp.Or(id.output, "out")
	if id.version == "" {
		return TagName(output)
	}
	return TagName(id.version + "-" + output)
}

// offered reports whether a path may have a name: it is no derivation and no source. An output of a content-addressed derivation has
// a deriver, as those of fixed-output derivations do, which [pathKinds.of] leaves out. That also checks whether it is a directory.
func offered(e store.Entry) bool {
	return !strings.HasSuffix(e.Path.Name(), ".drv") && (e.CA == "" || e.Deriver != "" && strings.HasPrefix(e.CA, "fixed:"))
}

// First components of repositories that are not names of packages.
const (
	// Shell begins the names of images with an interactive shell: shell/git.
	Shell = "shell"
	// storeComponent begins the names of paths by hash: store/<hash>.
	storeComponent = "store"
)

// Reserved reports whether the first component of a repository's name cannot be a package or a mirror. Names of architectures are
// reserved for later use.
func Reserved(component string) bool {
	return component == storeComponent || component == Shell || program.IsArchitecture(component)
}
