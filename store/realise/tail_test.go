package realise_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/nixreg/nixreg/store/realise"
)

func TestCleanLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                "plain",
		"  \x1b[31;1merror:\x1b[0m no \r":      "error: no",
		"10%\r20%\r30%":                        "30%",
		"\x1b]0;title\x07text":                 "text",
		"\x1b]0;title\x1b\\text":               "text",
		"\x1b]0;title":                         "",
		"a\x1b":                                "a",
		"a\x00\x08b\tc\u200bd\u202e":           "ab cd",
		"caf\xc3\xa9 \xff":                     "café \ufffd",
		"fetching https://u:p@host/x and more": "fetching https://host/x and more",
		"error: git+ssh://git@host/x":          "error: git+ssh://host/x",
		"https://me:p@ss@host/x@1":             "https://host/x@1",
		"get https://h/x?private_token=S&a=1":  "get https://h/x?private_token=…&a=1",
		"Authorization: Bearer S.e-c":          "Authorization: Bearer …",
	} {
		if got := realise.CleanLine(in); got != want {
			t.Errorf("CleanLine(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTail(t *testing.T) {
	long := strings.Repeat("x", realise.MaxTail)
	for name, c := range map[string]struct {
		writes      []string
		count, size int
		want        []string
	}{
		"empty":               {nil, 3, 100, nil},
		"fewer":               {[]string{"a\nb"}, 3, 100, []string{"a", "b"}},
		"more":                {[]string{"a\nb\nc\nd\n"}, 3, 100, []string{"b", "c", "d"}},
		"blank":               {[]string{"a\n\n \n\x1b[0m\nb\n\n"}, 3, 100, []string{"a", "b"}},
		"pieces":              {[]string{"a", "b\nc", "d"}, 3, 100, []string{"ab", "cd"}},
		"bytes":               {[]string{"aaaa\nbbbb\ncccc\n"}, 3, 9, []string{"bbbb", "cccc"}},
		"one line too long":   {[]string{"aaaaaaaaaa"}, 3, 4, []string{"aaaa"}},
		"cut within a letter": {[]string{"aaaé"}, 3, 4, []string{"aaa"}},
		"old ones go":         {[]string{"first\n", long[:len(long)-5], "\nlast\n"}, 9, 100, []string{"last"}},
		"half a line goes":    {[]string{"abcdef\n", strings.Repeat("\n", realise.MaxTail-3)}, 9, 100, nil},
		"a big write":         {[]string{"first\n", long + "\nlast\n"}, 9, 100, []string{"last"}},
	} {
		if got := realise.Tail(c.count, c.size, c.writes...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %.100q, want %.100q", name, got, c.want)
		}
	}
}

func FuzzEndOf(f *testing.F) {
	f.Add("error: no\n\x1b[31mred\x1b[0m\n\r\xff\n", 10, 1024)
	f.Add("\x1b]0;x", 1, 3)
	f.Add("é\u200b\nhttps://a:b@c/", 3, 5)
	f.Fuzz(func(t *testing.T, s string, count, size int) {
		if count < 0 || count > 100 || size < 0 || size > 1<<20 {
			t.Skip()
		}
		lines := realise.EndOf(s, count, size)
		total := 0
		for _, l := range lines {
			total += len(l)
			if l == "" && size > 0 && !strings.ContainsFunc(s, unicode.IsPrint) || strings.ContainsFunc(l, unicode.IsControl) || !utf8.ValidString(l) {
				t.Errorf("line %q of %q", l, s)
			}
		}
		if len(lines) > count || total > size {
			t.Errorf("%d lines of %d bytes, want at most %d of %d", len(lines), total, count, size)
		}
	})
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte(`[{"drvPath":"/nix/store/x.drv","outputs":{"out":"/nix/store/00000000000000000000000000000000-hello-1.0"}}]`))
	f.Add([]byte(`["hello","-a","b.c"]`))
	f.Add([]byte(`["/nix/store/00000000000000000000000000000000-hello-1.0","/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"]`))
	f.Add([]byte(`[{"outputs":{"out":null}}]`))
	f.Fuzz(func(t *testing.T, out []byte) {
		if r, err := realise.ParseBuilt(out, realise.Description{}); (err == nil) != (len(r.Outputs) > 0) {
			t.Errorf("ParseBuilt(%q) = %v, %v", out, r, err)
		}
		if paths, err := realise.ParseOutputs(out); err != nil && len(paths) > 0 {
			t.Errorf("ParseOutputs(%q) = %v, %v", out, paths, err)
		}
		names, err := realise.ParseNames(out)
		if err == nil && !slices.IsSorted(names) {
			t.Errorf("ParseNames(%q) = %q", out, names)
		}
		for _, n := range names {
			if _, err := realise.ParseAttr(n); err != nil {
				t.Errorf("ParseNames(%q): %v", out, err)
			}
		}
	})
}
