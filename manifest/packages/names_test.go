package packages

import (
	"regexp"
	"testing"

	"github.com/nixreg/nixreg/store"
)

func TestSplitName(t *testing.T) {
	for full, want := range map[string][2]string{
		"hello-2.12.1":       {"hello", "2.12.1"},
		"xgcc-12.2.0-libgcc": {"xgcc", "12.2.0-libgcc"},
		"python3.11-foo-1":   {"python3.11-foo", "1"},
		"font-awesome":       {"font-awesome", ""},
		"a-":                 {"a-", ""},
		"0num-6.6":           {"0num", "6.6"},
		"x86_64-lib-4.4":     {"x86_64-lib", "4.4"},
		"gtk+-2.24":          {"gtk+", "2.24"},
	} {
		if name, version := SplitName(full); name != want[0] || version != want[1] {
			t.Errorf("%s is %q and %q", full, name, version)
		}
	}
}

// TestCompareVersions has the cases of Nix's own manual, builtins.compareVersions and nix-env --upgrade.
func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "2.3", -1}, {"2.1", "2.3", -1}, {"2.3", "2.3", 0}, {"2.5", "2.3", 1}, {"3.1", "2.3", 1},
		{"2.3.1", "2.3", 1}, {"2.3.1", "2.3a", 1}, {"2.3pre1", "2.3", -1}, {"2.3pre3", "2.3pre12", -1},
		{"2.3a", "2.3c", -1}, {"2.3pre1", "2.3c", -1}, {"2.3pre1", "2.3q", -1}, {"", "1", -1}, {"1-2", "1.2", 0},
		{"18446744073709551617", "18446744073709551616", 1}, {"007", "7", 0},
	} {
		if got := CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("compare %q %q: %d, not %d", c.a, c.b, got, c.want)
		}
		if got := CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("compare %q %q: %d, not %d", c.b, c.a, got, -c.want)
		}
	}
}

func TestRepositoryName(t *testing.T) {
	for name, want := range map[string]string{
		"hello": "hello", "Upper": "upper", "gtk+": "gtk", "libsigc++-2": "libsigc_2", "a..b": "a_b", "a__b": "a__b",
		"a___b": "a_b", "a--b": "a--b", "-a-": "a", "+++": "", "a.-b": "a_b", "python3.11-x": "python3.11-x", "c=?d": "c_d",
	} {
		if got := RepositoryName(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}

func TestIdentify(t *testing.T) {
	path := func(name string) store.Path { return store.Path("0123456789abcdfghijklmnpqrsvwxyz-" + name) }
	for _, c := range []struct {
		name, deriver, told string
		want                identity
		version, tag        string
	}{
		{"hello-2.12.1", "hello-2.12.1.drv", "", identity{"hello", "2.12.1", ""}, "2.12.1", "2.12.1-out"},
		{"glibc-2.36-bin", "glibc-2.36.drv", "", identity{"glibc", "2.36", "bin"}, "2.36", "2.36-bin"},
		{"glibc-2.36-bin", "", "", identity{"glibc", "2.36", "bin"}, "2.36", "2.36-bin"},
		{"kitty-0.31-terminfo", "", "terminfo", identity{"kitty", "0.31", "terminfo"}, "0.31", "0.31-terminfo"},
		{"firefox-120-bin", "", "out", identity{"firefox", "120-bin", ""}, "120-bin", "120-bin-out"},
		{"foo-dev", "foo.drv", "", identity{"foo", "", "dev"}, "", "dev"},
		{"xgcc-12.2.0-libgcc", "", "", identity{"xgcc", "12.2.0-libgcc", ""}, "12.2.0-libgcc", "12.2.0-libgcc-out"},
		{"xgcc-12.2.0-libgcc", "xgcc-12.2.0-libgcc.drv", "", identity{"xgcc", "12.2.0-libgcc", ""}, "12.2.0-libgcc", "12.2.0-libgcc-out"},
		{"a-1.0+b", "other.drv", "", identity{"a", "1.0+b", ""}, "1.0_b", "1.0_b-out"},
		{"a-1=0", "", "", identity{"a", "1=0", ""}, "", ""},
		{"doc", "", "", identity{"doc", "", ""}, "", "out"},
	} {
		e := store.Entry{Path: path(c.name)}
		if c.deriver != "" {
			e.Deriver = path(c.deriver)
		}
		if got := identify(e, c.told); got != c.want || got.versionTag() != c.version || got.outputTag() != c.tag {
			t.Errorf("%s of %q is %+v with tags %q, %q", c.name, c.deriver, got, got.versionTag(), got.outputTag())
		}
	}
}

var (
	component = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)
	legalTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func FuzzNames(f *testing.F) {
	for _, s := range []string{"hello-2.12.1", "gtk+-2", "-", "a-0", "\xff", "A.B--c_d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, version := SplitName(s)
		if r := RepositoryName(name); r != "" && !component.MatchString(r) {
			t.Errorf("repository %q of %q breaks the grammar", r, name)
		}
		if tag := TagName(version); tag != "" && !legalTag.MatchString(tag) {
			t.Errorf("tag %q of %q breaks the grammar", tag, version)
		}
		if CompareVersions(version, version) != 0 {
			t.Errorf("version %q is not equal to itself", version)
		}
	})
}
