package realise_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
)

const host = "x86_64-linux"

func TestFind(t *testing.T) {
	h := newHand(t, nix(built))
	var log bytes.Buffer
	b := open(t, realise.Options{Spell: spell, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, c := range []struct {
		name string
		want realise.Attr
	}{
		{"hello", "hello"},
		{"Hello", "Hello"},
		{"HELLO", "Hello"}, // neither is spelled so: the first
		{"zlib", "Zlib"},
		{"zLib", "zLib"},
		{"1password", "_1password"},
		{"python3packages.requests", "python3Packages.requests"},
		{"python3packages.requests-oauthlib", "python3Packages.Requests-oauthlib"},
		{"python3packages", "python3Packages"},
		{"both", "both"},
		{"both.deep", "both.deep"}, // packages.….both is no set
	} {
		if got, err := b.Find(t.Context(), c.name, host); got != c.want || err != nil {
			t.Errorf("Find(%q) = %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for _, name := range []string{"", ".", "absent", "hello.absent", "python3packages.absent", "weird.name", "libc__", "libc++", "-hello",
		"a/b", "--help", strings.Repeat("a", 300), strings.Repeat("a.", 9) + "a", "foreign"} {
		if got, err := b.Find(t.Context(), name, host); got != "" || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Find(%.50q) = %q, %v; want fs.ErrNotExist", name, got, err)
		}
	}
	if got, err := b.Find(t.Context(), "foreign", "aarch64-linux"); got != "foreign" || err != nil {
		t.Errorf("Find for another system = %q, %v", got, err)
	}
	if n := strings.Count(log.String(), "share a name"); n != 2 || !strings.Contains(log.String(), "taken=Zlib") {
		t.Errorf("ambiguity was told %d times, want 2:\n%s", n, log.String())
	}
	if n := len(h.of("eval")); n != 7 {
		t.Errorf("%d evaluations, want one a set", n)
	}
}

func spell(s string) string { return strings.Trim(strings.ToLower(s), "_+'") }

func TestFindChecksSystem(t *testing.T) {
	h := newHand(t, nix(built))
	b := open(t, realise.Options{})
	for _, system := range []string{"x y", "-x", "x\";abort", "X", strings.Repeat("x", 65)} {
		if _, err := b.Find(t.Context(), "hello", system); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Find for %.80q: %v", system, err)
		}
		if _, err := b.Build(t.Context(), "hello", system); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Build for %.80q: %v", system, err)
		}
	}
	if _, err := b.Build(t.Context(), "--help", host); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Build of an option: %v", err)
	}
	if n := len(h.of("")); n > 0 || len(h.of("eval")) > 0 || len(h.of("build")) > 0 {
		t.Error("nix was called")
	}
}

func TestLevelsAreSeenAnew(t *testing.T) {
	dir := t.TempDir()
	flake := filepath.Join(dir, "flake.nix")
	write(t, flake, "1")
	var mu sync.Mutex
	names := `["hello"]`
	h := newHand(t, func(c call) answer {
		mu.Lock()
		defer mu.Unlock()
		return answer{Stdout: names}
	})
	set := func(s string) { mu.Lock(); defer mu.Unlock(); names = s }
	b := open(t, realise.Options{Installable: dir, Fresh: time.Hour})
	now := time.Unix(1000, 0)
	b.SetClock(func() time.Time { return now })
	find := func(name string, want bool, evals int) {
		t.Helper()
		_, err := b.Find(t.Context(), name, host)
		if (err == nil) != want || err != nil && !errors.Is(err, fs.ErrNotExist) || len(h.of("eval")) != evals {
			t.Errorf("Find(%s): %v after %d evaluations, want found %v after %d", name, err, len(h.of("eval")), want, evals)
		}
	}
	find("hello", true, 1)
	find("hello", true, 1)
	find("git", false, 2) // legacyPackages, too
	set(`["git"]`)
	find("hello", true, 2)
	find("git", false, 2)
	now = now.Add(11 * time.Second) // what a file imports may have changed: a name that is not there is looked for again
	find("hello", true, 2)
	find("git", true, 3)
	set(`["other"]`)
	write(t, flake, "changed")
	find("git", false, 5)
	find("other", true, 5)
	now = now.Add(time.Hour + time.Second)
	find("other", true, 6)
}

func write(t *testing.T, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildArguments(t *testing.T) {
	for _, name := range []string{"SECRET_TOKEN", "NIXREG_PASSWORD", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "secret")
	}
	t.Setenv("NIX_CONFIG", "substitute = false")
	t.Setenv("HOME", "/home/somebody")
	h := newHand(t, func(c call) answer {
		if slices.Contains(c.Args, "--file") {
			return packaged(built)(c)
		}
		return nix(built)(c)
	})
	file := filepath.Join(t.TempDir(), "f.nix")
	write(t, file, "")
	features := []string{"--extra-experimental-features", "nix-command flakes", "build", "--json", "--no-link", "--print-build-logs"}
	for name, c := range map[string]struct {
		o    realise.Options
		attr realise.Attr
		want []string
	}{
		"packages":       {realise.Options{}, "hello", []string{"--no-write-lock-file", "x#packages.x86_64-linux.hello"}},
		"both":           {realise.Options{}, "both", []string{"--no-write-lock-file", "x#packages.x86_64-linux.both"}},
		"legacyPackages": {realise.Options{}, "python3Packages.requests", []string{"--no-write-lock-file", "x#legacyPackages.x86_64-linux.python3Packages.requests"}},
		"file":           {realise.Options{File: file}, "a.b", []string{"--file", file, "--argstr", "system", host, "a.b"}},
	} {
		before := len(h.of("build"))
		got, err := open(t, c.o).Build(t.Context(), c.attr, host)
		if want := []store.Path{helloPath, devPath}; !slices.Equal(got.Outputs, want) || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
		call := h.of("build")[before]
		if want := slices.Concat(features, c.want); !slices.Equal(call.Args, want) {
			t.Errorf("%s: arguments %q, want %q", name, call.Args, want)
		}
		if call.Group != call.Pid {
			t.Errorf("%s: process %d is in group %d", name, call.Pid, call.Group)
		}
		for _, kv := range call.Env {
			if strings.Contains(kv, "secret") {
				t.Errorf("%s: nix got %s", name, kv)
			}
		}
		for _, kv := range []string{"NIX_CONFIG=substitute = false", "HOME=/home/somebody", "GC_MAXIMUM_HEAP_SIZE=4294967296"} {
			if !slices.Contains(call.Env, kv) {
				t.Errorf("%s: nix did not get %s", name, kv)
			}
		}
	}
}

func TestBuildIsRemembered(t *testing.T) {
	h := newHand(t, nix(built))
	b := open(t, realise.Options{})
	now := time.Unix(1000, 0)
	b.SetClock(func() time.Time { return now })
	build := func(calls int) {
		t.Helper()
		if _, err := b.Build(t.Context(), "hello", host); err != nil || len(h.of("build")) != calls {
			t.Errorf("%v, %d builds; want %d", err, len(h.of("build")), calls)
		}
	}
	b.SetPresent(true)
	build(1)
	build(1)
	b.SetPresent(false) // garbage
	build(2)
	b.SetPresent(true)
	now = now.Add(5*time.Minute + 1)
	build(3)
}

func TestBuildFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer answer
		kind   error
		says   string
	}{
		"builder": {answer{Exit: 1, Stderr: "building\x1b[1m\nerror: \x1b[31mbuilder failed\nfrom https://me:pw@host/\n"}, nil, "nix: building | error: builder failed | from https://host/"},
		"silent":  {answer{Exit: 3}, nil, "nix: exit status 3"},
		"absent":  {answer{Exit: 1, Stderr: "error: attribute 'x' in selection path 'hello.x' not found\n"}, fs.ErrNotExist, "no such attribute"},
		"flake":   {answer{Exit: 1, Stderr: "error:\n       … while\n       error: flake 'x' does not provide attribute 'a'\n"}, fs.ErrNotExist, "no such attribute"},
		"a set":   {answer{Exit: 1, Stderr: "error: flake output attribute 'x' is not a derivation\n"}, fs.ErrNotExist, "not a package"},
		"newer":   {answer{Exit: 1, Stderr: "error: expected flake output attribute 'x' to be a derivation or path but found a set\n"}, fs.ErrNotExist, "not a package"},
		"quoted":  {answer{Exit: 1, Stderr: "hello> test: in selection path not found\n"}, nil, "in selection path"},
		"garbage": {answer{Stdout: "hello"}, fs.ErrInvalid, "what nix says it built"},
		"nothing": {answer{Stdout: "[]"}, fs.ErrInvalid, "nothing"},
		"outside": {answer{Stdout: `[{"outputs":{"out":"/etc/passwd"}}]`}, fs.ErrInvalid, "store path"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHand(t, nix(func(call) answer { return c.answer }))
			b := open(t, realise.Options{})
			now := time.Unix(1000, 0)
			b.SetClock(func() time.Time { return now })
			for range 2 {
				_, err := b.Build(t.Context(), "hello", host)
				var failed *realise.BuildError
				if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v, want one line that says %q", err, c.says)
				}
				if c.kind != nil && !errors.Is(err, c.kind) || c.kind == nil && !errors.As(err, &failed) {
					t.Errorf("%v is not of its kind, %v", err, c.kind)
				}
			}
			if n := len(h.of("build")); n != 1 {
				t.Errorf("a failure was forgotten: %d builds", n)
			}
			now = now.Add(time.Minute + 1)
			_, _ = b.Build(t.Context(), "hello", host)
			if n := len(h.of("build")); n != 2 {
				t.Errorf("a failure was remembered for good: %d builds", n)
			}
		})
	}
}

func TestReport(t *testing.T) {
	lines := make(lineLog, 9)
	b := open(t, realise.Options{Log: slog.New(lines)})
	now := time.Unix(1000, 0)
	b.SetClock(func() time.Time { now = now.Add(30 * time.Second); return now })
	over, ticks := make(chan struct{}), make(chan time.Time)
	go b.Report(over, ticks, "build hello", "one\ntwo\n")
	ticks <- time.Time{}
	if got := <-lines; got != "still running: build hello elapsed=30s last=two" {
		t.Errorf("line %q", got)
	}
	ticks <- time.Time{}
	<-lines
	close(over)
}

// lineLog sends each line, short, to whoever waits for it.
type lineLog chan string

func (l lineLog) Enabled(context.Context, slog.Level) bool { return true }
func (l lineLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lineLog) WithGroup(string) slog.Handler            { return l }
func (l lineLog) Handle(_ context.Context, r slog.Record) error {
	s := r.Message
	r.Attrs(func(a slog.Attr) bool { s += " " + a.String(); return true })
	l <- s
	return nil
}
