package binarycache

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

const goodNarinfo = `StorePath: /nix/store/0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1
URL: nar/0al3.nar.xz
Compression: xz
FileHash: sha256:0al3y25hgmpm44b1lfhw4bd7gr5kyyhpzbjfw6ma56sdysq1gpah
FileSize: 180
NarHash: sha256:1qa4gk46h3pszy8pvdjd5bygfrprwvjgfr8aj51qp0hr9rnvaswl
NarSize: 176
References: nsi1md98b32vq7vshbzf7j836rjx8pgm-lib-2.1 0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1
Deriver: y51l7r23xwbwy0m18hp6mqvxj4za2kl6-link-1.drv
Sig: a:b
Sig: c:d
`

func TestParseNarinfo(t *testing.T) {
	n, err := parseNarinfo(goodNarinfo, "")
	if err != nil {
		t.Fatal(err)
	}
	if n.object.Path != "0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1" || n.object.Deriver != "y51l7r23xwbwy0m18hp6mqvxj4za2kl6-link-1.drv" ||
		n.object.NarSize != 176 || n.url != "nar/0al3.nar.xz" || n.compression != nar.XZ || n.fileSize != 180 {
		t.Errorf("%+v", n)
	}
	const want = "1;/nix/store/0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1;sha256:1qa4gk46h3pszy8pvdjd5bygfrprwvjgfr8aj51qp0hr9rnvaswl;176;" +
		"/nix/store/0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1,/nix/store/nsi1md98b32vq7vshbzf7j836rjx8pgm-lib-2.1"
	if got := string(n.fingerprint()); got != want {
		t.Errorf("fingerprint %s\nwant        %s", got, want)
	}
}

func TestParseNarinfoEdits(t *testing.T) {
	const hash = "sha256:1qa4gk46h3pszy8pvdjd5bygfrprwvjgfr8aj51qp0hr9rnvaswl"
	for _, tc := range []struct {
		name, old, new string
		want           error
	}{
		{"unknown key", "Sig: a:b", "Color: red\nColor: blue", nil},
		{"no signature", "Sig: a:b\n", "", nil},
		{"no compression is bzip2", "Compression: xz\n", "", nil},
		{"no references", "References: nsi1md98b32vq7vshbzf7j836rjx8pgm-lib-2.1 0b3sg6sw6wyygb04vywr0x3xfpb733rr-link-1", "References: ", nil},
		{"unknown deriver", "y51l7r23xwbwy0m18hp6mqvxj4za2kl6-link-1.drv", "unknown-deriver", nil},
		{"no file hash", "FileHash: ", "X: ", nil},
		{"content address", "Sig: a:b", "CA: fixed:sha256:x", nil},

		{"no path", "StorePath: ", "X: ", ErrCorrupt},
		{"base name", "StorePath: /nix/store/", "StorePath: ", ErrCorrupt},
		{"another store", "StorePath: /nix/", "StorePath: /gnu/", ErrCorrupt},
		{"file in a path", "link-1\nURL", "link-1/x\nURL", ErrCorrupt},
		{"slash", "link-1\nURL", "link-1/\nURL", ErrCorrupt},
		{"no url", "URL: ", "X: ", ErrCorrupt},
		{"empty url", "nar/0al3.nar.xz", "", ErrCorrupt},
		{"root", "nar/0al3.nar.xz", ".", ErrCorrupt},
		{"upwards", "nar/0al3.nar.xz", "nar/../../x", ErrCorrupt},
		{"absolute", "nar/0al3.nar.xz", "/etc/passwd", ErrCorrupt},
		{"by the cache's own name", "nar/0al3.nar.xz", "https://cache.example.org/x/nar/0al3.nar.xz", nil},
		{"beside the cache", "nar/0al3.nar.xz", "https://cache.example.org/xy/nar/0al3.nar.xz", ErrCorrupt},
		{"upwards in its name", "nar/0al3.nar.xz", "https://cache.example.org/x/../y", ErrCorrupt},
		{"brotli", "Compression: xz", "Compression: br", nil},
		{"elsewhere", "nar/0al3.nar.xz", "https://example.org/x", ErrCorrupt},
		{"compression", "Compression: xz", "Compression: lzip", errors.ErrUnsupported},
		{"no hash", "NarHash: ", "X: ", ErrCorrupt},
		{"md5", "NarHash: " + hash, "NarHash: md5:x", ErrCorrupt},
		{"no size", "NarSize: ", "X: ", ErrCorrupt},
		{"size 0", "NarSize: 176", "NarSize: 0", ErrCorrupt},
		{"negative", "NarSize: 176", "NarSize: -1", ErrCorrupt},
		{"signed size", "NarSize: 176", "NarSize: +1", ErrCorrupt},
		{"huge", "NarSize: 176", "NarSize: 9223372036854775808", ErrCorrupt},
		{"bad reference", "References: nsi", "References: ../nsi", ErrCorrupt},
		{"bad deriver", "Deriver: y5", "Deriver: /nix/store/y5", ErrCorrupt},
		{"twice", "URL: ", "URL: a\nURL: ", ErrCorrupt},
		{"not a line", "Sig: a:b", "Sig", ErrCorrupt},
		{"empty line", "Sig: a:b", "", ErrCorrupt},
		{"carriage return", "NarSize: 176", "NarSize: 176\r", ErrCorrupt},
		{"truncated", "Sig: c:d\n", "Sig: c:d", ErrCorrupt},
		{"empty", goodNarinfo, "", ErrCorrupt},
	} {
		if strings.Count(goodNarinfo, tc.old) != 1 && tc.old != "URL: " {
			t.Fatalf("%s: %q is not there once", tc.name, tc.old)
		}
		_, err := parseNarinfo(strings.Replace(goodNarinfo, tc.old, tc.new, 1), "https://cache.example.org/x/")
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: blames the caller: %v", tc.name, err)
		}
	}
}

func TestParsePublicKey(t *testing.T) {
	const good = "nixreg-test-1:aA1194ahC1BSjbTh+LrrnOB3d/lbv5mAL8ssSV7vm7A="
	if k, err := ParsePublicKey(" " + good + "\n"); err != nil || k.String() != good {
		t.Errorf("%v, %v", k, err)
	}
	for _, bad := range []string{"", ":", good[14:], good[13:], good[:20], good + "AAAA", strings.Replace(good, "a", "!", 1)[:30], "name:" + good} {
		if k, err := ParsePublicKey(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q is read as %v, %v", bad, k, err)
		}
	}
}

// What is accepted is written and read again as the same.
func FuzzParseNarinfo(f *testing.F) {
	f.Add(goodNarinfo)
	f.Add("StorePath: /nix/store/0b3sg6sw6wyygb04vywr0x3xfpb733rr-a\nURL: a\nNarHash: sha256-7EQqCz5JHwcpTCVQxKmnBnMFv7wLlrWqD7OmYGyqtRE=\nNarSize: 1\nCA: \n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseNarinfo(text, "")
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
				t.Error(err)
			}
			return
		}
		if _, err := store.ParsePath(string(n.object.Path)); err != nil || !fs.ValidPath(n.url) || n.object.NarSize <= 0 {
			t.Errorf("%+v", n)
		}
		again, err := parseNarinfo(n.text(), "")
		if n.fileHash == (store.Hash{}) && err == nil {
			again.fileHash = n.fileHash
		}
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Errorf("%+v\nthen %+v, %v", n, again, err)
		}
	})
}
