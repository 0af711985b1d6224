package oci

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestAcceptable(t *testing.T) {
	for in, want := range map[Platform][]string{
		{"linux", "amd64", ""}:     {""},
		{"linux", "amd64", "v3"}:   {"v3", ""},
		{"linux", "arm64", ""}:     {"", "v8"},
		{"linux", "arm64", "v8"}:   {"v8", ""},
		{"linux", "arm64", "v9"}:   {"v9", ""},
		{"linux", "arm", ""}:       {"", "v8", "v7", "v6", "v5"},
		{"windows", "arm", "v7"}:   {"v7", "v6", "v5", ""},
		{"linux", "arm", "v5"}:     {"v5", ""},
		{"linux", "riscv64", "x1"}: {"x1", ""},
	} {
		if got := in.acceptable(); !slices.Equal(got, want) {
			t.Errorf("%s: accepts variants %q, want %q", in, got, want)
		}
	}
}

func chooseOf(offers string, wants ...Platform) (string, error) {
	return Choose(strings.Fields(offers), func(s string) Platform {
		p, _ := ParsePlatform(s)
		return p
	}, wants...)
}

func TestChoose(t *testing.T) {
	plain := func(s string) Platform { p, _ := ParsePlatform(s); return p }
	for name, c := range map[string]struct {
		offers string
		wants  []Platform
		want   string // "" for none
	}{
		"exact":              {"linux/amd64 linux/arm64/v8 linux/arm64", Linux("arm64"), "linux/arm64"},
		"known variant":      {"linux/arm/v6 linux/arm/v7", []Platform{plain("linux/arm")}, "linux/arm/v7"},
		"lesser variant":     {"linux/arm linux/arm/v5 linux/arm/v6", []Platform{plain("linux/arm/v7")}, "linux/arm/v6"},
		"greater variant":    {"linux/arm/v7 linux/arm/v8", []Platform{plain("linux/arm/v6")}, ""},
		"unknown variant":    {"linux/amd64/v3", []Platform{plain("linux/amd64")}, ""},
		"any variant":        {"windows/amd64 linux/amd64/v3 linux/amd64/v2", Linux("amd64"), "linux/amd64/v3"},
		"none goes before":   {"linux/amd64/v3 linux/amd64", Linux("amd64"), "linux/amd64"},
		"asked for, not any": {"linux/amd64/v3", plain("linux/amd64/v2").OrAnyVariant(), ""},
		"any system":         {"linux/arm64 windows/amd64/v3 linux/amd64", []Platform{AnySystem("amd64")}, "windows/amd64/v3"},
		"second want":        {"linux/s390x linux/amd64", append(Linux("arm64"), Linux("amd64")...), "linux/amd64"},
		"unknown platform":   {"? ?", Linux("amd64"), ""},
	} {
		got, err := chooseOf(c.offers, c.wants...)
		if got != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestNoImageForThePlatform(t *testing.T) {
	for offers, want := range map[string]string{
		"linux/amd64 unknown/unknown linux/arm/v7 linux/amd64 ?": "no image for linux/s390x, only for linux/amd64, linux/arm/v7",
		"unknown/unknown": "no image for linux/s390x, only for none",
	} {
		if _, err := chooseOf(offers, Linux("s390x")...); !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
	many := make([]Platform, 100)
	for i := range many {
		many[i] = Platform{"linux\n", strings.Repeat("a", 1000+i), ""}
	}
	_, err := Choose(many, func(p Platform) Platform { return p }, Linux("s390x")...)
	if len(err.Error()) > 4000 || strings.Contains(err.Error(), "\n") {
		t.Errorf("error has %d bytes", len(err.Error()))
	}
}

func TestParsePlatform(t *testing.T) {
	for s, want := range map[string]string{
		"": "want OS/ARCH", "linux": "want OS/ARCH", "linux/": "want OS/ARCH", "/amd64": "want OS/ARCH", "linux/arm/": "want OS/ARCH", "linux/arm/v7/x": "want OS/ARCH",
		"Linux/amd64": `operating system "Linux": want one word in lower case, such as linux`, "linux/arm64,v8": `architecture "arm64,v8": want one word in lower case, such as arm64`,
		"linux/arm/v7,v8": `variant "v7,v8": want one word in lower case, such as v8`, "linux/" + strings.Repeat("a", 33): "architecture",
	} {
		if _, err := ParsePlatform(s); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"linux/amd64", "linux/arm/v7", "linux/riscv64/r_1"} {
		if p, err := ParsePlatform(s); err != nil || p.String() != s {
			t.Errorf("%q: %s, %v", s, p, err)
		}
	}
}
