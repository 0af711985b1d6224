package mirror

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestPermits(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Allow, c.Deny = []string{"library/*", "team/**"}, []string{"**/secret"} })
	m, _, layer := f.hub.image("team/a", "latest", "a")
	mustPull(t, f, "team/a", "latest", m)
	f.hub.requests()
	checkStatus(t, "manifest", errorOf(f.pull(t, "other", "latest")), 403)
	checkStatus(t, "blob", second(f.read(t, "team/secret", layer)), 403)
	checkStatus(t, "tags", second(f.Tags(t.Context(), "library/a/b")), 403)
	_, err := f.Referrers(t.Context(), "other", m)
	checkStatus(t, "referrers", err, 403)
	wantRequests(t, f)
	if _, err := New(Config{Upstream: f.c.Upstream, Allow: []string{"a/[b"}}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a pattern that is none: %v", err)
	}
}

// Docker Hub's own images are meant by their short names, too.
func TestPermitsOfDockerHub(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Upstream = named{c.Upstream, "docker.io"}
		c.Allow, c.Deny = []string{"hello", "team/*", "d*"}, []string{"debian"}
	})
	for repo, want := range map[string]int{
		"hello": 404, "library/hello": 404, "docker": 404, "team/app": 404,
		"debian": 403, "library/debian": 403, "other": 403, "library/library/hello": 403,
	} {
		checkStatus(t, repo, errorOf(f.pull(t, repo, "latest")), want)
	}
	all, err := New(Config{Upstream: f.c.Upstream, Blobs: f.c.Blobs, Deny: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	_, err = all.Tags(t.Context(), "team/app")
	checkStatus(t, "all", err, 403)
}

// named is an upstream by another name.
type named struct {
	Upstream
	name string
}

func (n named) Name() string { return n.name }

func TestPattern(t *testing.T) {
	for pattern, names := range map[string]struct{ yes, no []string }{
		"library/*":  {[]string{"library/a", "library/b-c"}, []string{"library", "library/a/b", "other/a"}},
		"**":         {[]string{"a", "a/b", "a/b/c"}, nil},
		"a/**":       {[]string{"a", "a/b", "a/b/c"}, []string{"b", "b/a"}},
		"**/a":       {[]string{"a", "b/a", "c/b/a"}, []string{"a/b", "ab"}},
		"a/**/b":     {[]string{"a/b", "a/x/b", "a/b/b"}, []string{"a", "a/b/c"}},
		"**/a/**/b":  {[]string{"a/b", "x/a/b", "a/a/b", "x/a/y/a/z/b"}, []string{"b/a", "a", "x/b"}},
		"*/a?-[0-9]": {[]string{"x/ab-1"}, []string{"x/ab-a", "ab-1"}},
	} {
		p, err := parsePatterns([]string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names.yes {
			if !match(p, strings.Split(name, "/")) {
				t.Errorf("%s does not match %s", pattern, name)
			}
		}
		for _, name := range names.no {
			if match(p, strings.Split(name, "/")) {
				t.Errorf("%s matches %s", pattern, name)
			}
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a/**/b*", "a/x/y/b1")
	f.Add("**/**/**/**/x", "a/a/a/a/a/a/a/a")
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := parsePatterns([]string{text})
		if err != nil {
			return
		}
		components := strings.Split(name, "/")
		longer := []pattern{append(slices.Clone(p[0]), "**")}
		if match(p, components) && !match(longer, append(slices.Clone(components), "x")) {
			t.Errorf("%q matches %q, but with ** not one component more", text, name)
		}
	})
}
