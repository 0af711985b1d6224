package dockertools

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/store"
)

// TestMentioned finds store paths wherever in the config they stand.
func TestMentioned(t *testing.T) {
	a, b, c := pathOf('1', "a-1.0"), pathOf('2', "b"), pathOf('3', "c")
	text := fmt.Sprintf(`{"%s":["PATH=%s/bin:%s/bin","/nix/store/short","/nix/store/%s_x","é/nix/store/nix/store/"]}`, a.Abs(), b.Abs(), a.Abs(), c.Hash())
	got := DefaultArgs([]byte(text)).Mentioned()
	if len(got) != 2 || !strings.HasPrefix(got[a.Hash()], string(a)+"/bin\"") || !strings.HasPrefix(got[b.Hash()], string(b)+"/bin:") {
		t.Errorf("found %q", got)
	}
}

// TestArgsTime writes times as nixpkgs' conf.json has them.
func TestArgsTime(t *testing.T) {
	for in, want := range map[string]string{
		"1970-01-01T00:00:01Z": DefaultTime, "now": DefaultTime, "2024-02-29T12:34:56+02:00": "2024-02-29T10:34:56+00:00", "yesterday": "",
	} {
		m := &imagefile.Image{Config: []byte("{}"), Created: in, MTime: "1970-01-01T00:00:01Z"}
		a, err := ArgsOf(m)
		if want == "" {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %v", in, err)
			}
			continue
		}
		if err != nil || a.Created != want || a.MTime != 1 {
			t.Errorf("%s is %+v, %v", in, a, err)
		}
	}
}

// TestBaseJSON is nixpkgs' text: its length counts in the division into layers.
func TestBaseJSON(t *testing.T) {
	for _, g := range goldens(t, "t") {
		want := baseText(t, g.Name)
		_, after, _ := strings.Cut(want, `"config":`)
		config := strings.TrimSuffix(after, `,"os":"linux"}`)
		if got := string(DefaultArgs([]byte(config)).BaseJSON("amd64")); got != want {
			t.Errorf("%s: %s, not %s", g.Name, got, want)
		}
	}
	a := DefaultArgs([]byte("{}"))
	a.Variant = "v7"
	if got, want := string(a.BaseJSON("arm")), `{"architecture":"arm","config":{},"os":"linux","variant":"v7"}`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func FuzzMentioned(f *testing.F) {
	f.Add(`{"Cmd":["` + string(pathOf('1', "a").Abs()) + `/bin/a"]}`)
	f.Add("/nix/store//nix/store/")
	f.Add(string(pathOf('1', "a").Abs()) + "\x10b")
	f.Fuzz(func(t *testing.T, text string) {
		for hash, rest := range DefaultArgs([]byte(text)).Mentioned() {
			if !store.IsHash(hash) || !strings.HasPrefix(rest, hash+"-") || !strings.Contains(text, store.Dir+"/"+rest) {
				t.Fatalf("found %q, %q", hash, rest)
			}
			if p := PathIn(rest); !strings.HasPrefix(rest, p) || strings.ContainsAny(p, "/\"\n\x10") {
				t.Fatalf("path %q", p)
			}
		}
	})
}

func FuzzPasswd(f *testing.F) {
	for _, user := range []string{"root", "1000:100", "app:web", "a\nb", ":", "-1"} {
		f.Add(user)
	}
	f.Fuzz(func(t *testing.T, user string) {
		entries, err := FakeNSS(document.String(user), false)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, c := range []struct {
			file, fields int
		}{{0, 7}, {1, 4}} {
			lines := strings.Split(strings.TrimSuffix(entries[c.file].Data, "\n"), "\n")
			if len(lines) > 3 {
				t.Fatalf("%q", lines)
			}
			for _, l := range lines {
				if len(strings.Split(l, ":")) != c.fields {
					t.Fatalf("line %q", l)
				}
			}
		}
	})
}
