package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/realise"
	"github.com/nixreg/nixreg/store/storetest"
)

// withNix makes the fakes the machine's Nix.
func withNix(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{"nix", "nix-store"} {
		if err := os.Symlink(exe, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
}

// builtParts are what a server of a local store in memory is made of, in which lies what "greeting" gives.
func builtParts(t *testing.T, c *Config, in folders) (*parts, []store.Store, *storetest.Memory) {
	t.Helper()
	mem, log := storetest.New(), slog.New(slog.DiscardHandler)
	p := mem.Add("hello-1.0", storetest.Files{"": storetest.Dir(), "bin": storetest.Dir(), "bin/hello": storetest.Exec("#!/bin/sh\n")})
	t.Setenv("NIX_FAKE_PATH", p.Abs())
	made := &parts{local: mem, cache: new(digests.Memory), stores: []string{"memory"}}
	t.Cleanup(func() {
		if err := made.close(); err != nil {
			t.Error(err)
		}
	})
	other := storetest.New()
	stores, err := made.openBuilds(c, []store.Store{other, mem}, in, log)
	if err != nil {
		t.Fatal(err)
	}
	if len(stores) != 2 || stores[0] != store.Store(other) {
		t.Errorf("stores %v", stores)
	}
	return made, stores, mem
}

// fileToBuild are settings that build from a file.
func fileToBuild(t *testing.T) *Config {
	t.Helper()
	name := filepath.Join(t.TempDir(), "default.nix")
	if err := os.WriteFile(name, []byte("{ }"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Config{BuildFile: name, BuildTimeout: 30 * time.Minute, BuildJobs: 2, BuildMemory: 4e9, Keep: time.Hour, Wait: wait}
}

func TestServesBuilds(t *testing.T) {
	withNix(t)
	c := fileToBuild(t)
	roots := filepath.Join(t.TempDir(), "gcroots")
	made, stores, mem := builtParts(t, c, folders{gcroots: roots})
	if got := strings.Join(made.names(), " and "); got != "memory and builds of "+c.BuildFile {
		t.Errorf("serves %s", got)
	}
	log := slog.New(slog.DiscardHandler)
	images := filepath.Join(t.TempDir(), "web.yaml")
	writeTo(t, images, "- {name: one, contents: fails}\n- {name: several, contents: [greeting, fails]}\n")
	err := made.openSource(manifest.Config{Stores: stores, Cache: made.cache, Builder: made.builder, Holder: made.holder, Images: []string{images}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(made.handler("", nil, c.Wait, log))
	defer srv.Close()

	answer := fetch(t, srv.URL+"/v2/greeting/manifests/latest")
	if answer.StatusCode != http.StatusOK {
		t.Errorf("a build: %s, %s", answer.Status, message(t, answer))
	}
	if links, _ := filepath.Glob(filepath.Join(roots, "*", "*")); len(links) == 0 {
		t.Error("what is served is not held")
	}
	digest := answer.Header.Get("Docker-Content-Digest")
	p := strings.TrimPrefix(os.Getenv("NIX_FAKE_PATH"), store.Dir+"/")
	if rec, err := made.cache.Get(t.Context(), "realise/"+p); err != nil || !strings.Contains(string(rec), `"greeting"`) {
		t.Errorf("what brings it back: %s, %v", rec, err)
	}
	mem.Delete(store.Path(p)) // and "nix" does not bring it back
	if _, err := stores[1].Object(t.Context(), store.Path(p)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "greeting gives another path now") {
		t.Errorf("%v, want one of the build", err)
	}
	if answer := fetch(t, srv.URL+"/v2/greeting/manifests/"+digest); answer.StatusCode != http.StatusOK {
		t.Errorf("its manifest: %s", answer.Status)
	}

	answer = fetch(t, srv.URL+"/v2/fails/manifests/latest")
	text := message(t, answer)
	if answer.StatusCode != http.StatusNotFound || !strings.Contains(text, "build fails for ") || !strings.HasSuffix(text, "| error: that is why") || strings.Contains(text, "hush") {
		t.Errorf("a build that fails: %s, %s", answer.Status, text)
	}
	for _, name := range []string{"one", "several"} { // of a definition no more is told than where it stands
		if text := message(t, fetch(t, srv.URL+"/v2/"+name+"/manifests/latest")); strings.Contains(text, "fails") || !strings.HasPrefix(text, "the definition at web.yaml:") || !strings.HasSuffix(text, "| error: that is why") {
			t.Errorf("a build for a definition that fails: %s", text)
		}
	}
	if answer := fetch(t, srv.URL+"/v2/other/manifests/latest"); answer.StatusCode != http.StatusNotFound || strings.Contains(message(t, answer), "nix:") {
		t.Errorf("no attribute: %s", answer.Status)
	}
}

// TestAbandonedBuildsGiveWay has both of two slots taken by builds that never end, whose clients have gone, when another
// build is asked for.
func TestAbandonedBuildsGiveWay(t *testing.T) {
	withNix(t)
	begun := t.TempDir()
	t.Setenv("NIX_FAKE_BEGUN", begun)
	c := fileToBuild(t)
	made, stores, _ := builtParts(t, c, folders{gcroots: filepath.Join(t.TempDir(), "gcroots")})
	log := slog.New(slog.DiscardHandler)
	err := made.openSource(manifest.Config{Stores: stores, Cache: made.cache, Builder: made.builder, Holder: made.holder, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(made.handler("", nil, c.Wait, log))
	defer srv.Close()

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	left := make(chan error, 2)
	for _, name := range []string{"hangs1", "hangs2"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/v2/"+name+"/manifests/latest", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := http.DefaultClient.Do(req)
			left <- err
		}()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(filepath.Join(begun, name)); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not begin", name)
			}
		}
	}
	leave()
	for range 2 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
	}
	if answer := fetch(t, srv.URL+"/v2/greeting/manifests/latest"); answer.StatusCode != http.StatusOK || answer.Request.URL.RawQuery != "" {
		t.Errorf("a third build: %s, %s from %s", answer.Status, message(t, answer), answer.Request.URL)
	}
}

func fetch(t *testing.T, url string) *http.Response {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// message is what a client shows of an error.
func message(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	var doc struct{ Errors []struct{ Message string } }
	if err != nil || json.Unmarshal(body, &doc) != nil || len(doc.Errors) != 1 {
		t.Fatalf("%s: %s, %v", resp.Status, body, err)
	}
	return doc.Errors[0].Message
}

// TestOpenBuildsErrors: each is one line that says what to do.
func TestOpenBuildsErrors(t *testing.T) {
	withNix(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		name, want string
		c          Config
		noLocal    bool
		path       string
	}{
		{"no local store", "build nixpkgs: Nix builds into this machine's own store, and ", Config{Build: "nixpkgs"}, true, ""},
		{"a password", "build git+https://host/x: Nix builds into", Config{Build: "git+https://me:hush@host/x?token=hush"}, true, ""},
		{"no file", `does not exist`, Config{BuildFile: filepath.Join(dir, "none.nix")}, false, ""},
		{"no flake", `does not exist`, Config{Build: "./none"}, false, ""},
		{"an attribute", "give the flake alone", Config{Build: "nixpkgs#hello"}, false, ""},
		{"no nix", `building needs the command "nix": not found, install Nix`, Config{Build: "nixpkgs"}, false, dir},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path != "" {
				t.Setenv("PATH", tt.path)
			}
			c, p := tt.c, &parts{cache: new(digests.Memory)}
			stores := []store.Store{storetest.New()}
			if !tt.noLocal {
				p.local = stores[0]
			}
			_, err := p.openBuilds(&c, stores, folders{gcroots: t.TempDir()}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err := p.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHoldsWithoutBuilds: a local store is held where nothing is built, and another one is not.
func TestHoldsWithoutBuilds(t *testing.T) {
	for _, local := range []bool{true, false} {
		mem := storetest.New()
		p := &parts{cache: new(digests.Memory)}
		if local {
			p.local = mem
		}
		roots := filepath.Join(t.TempDir(), "gcroots")
		stores, err := p.openBuilds(new(Config), []store.Store{mem}, folders{gcroots: roots}, slog.New(slog.DiscardHandler))
		if err != nil || len(stores) != 1 || stores[0] != store.Store(mem) || p.builder != nil || (p.holder != nil) != local {
			t.Errorf("%v, %v, builder %v, holder %v", stores, err, p.builder, p.holder)
		}
		if _, err := os.Stat(roots); (err == nil) != local {
			t.Errorf("folder of gcroots: %v", err)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	b := new(builder)
	if _, err := b.Build(t.Context(), "hello", "wasm"); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := b.Build(t.Context(), "--expr", ""); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

func TestFailedBuild(t *testing.T) {
	lines := []string{strings.Repeat("ä", 400), "the end"}
	err := answer(fmt.Errorf("image: %w", &realise.BuildError{What: "build x for y", Lines: lines, Err: errors.New("exit status 1")}))
	text := err.Error()
	if !errors.Is(err, fs.ErrInvalid) || !strings.HasPrefix(text, "build x for y: nix: …") || !strings.HasSuffix(text, "ä | the end") || len(text) > 800 || !utf8.ValidString(text) {
		t.Errorf("%q", text)
	}
	err = answer(&realise.BuildError{What: "build x for y", Err: errors.New("exit status 1")})
	if err.Error() != "build x for y: nix: exit status 1" {
		t.Errorf("%q", err)
	}
	quoting := []string{"error: undefined variable 'x'", "at /srv/site.nix:3:5:", "2|   password = \"hush\";", "3|     x;", "|     ^", "4| }"}
	err = answer(&realise.BuildError{What: "build x for y", Lines: quoting, Err: errors.New("exit status 1")})
	if want := "build x for y: nix: error: undefined variable 'x'"; err.Error() != want || publicText(err) != want {
		t.Errorf("%q, and to everybody %q", err, publicText(err))
	}
	quoting = []string{"error: while parsing TOML", "--> fromTOML", "| ", "  2 | password = hush", " trace: hush",
		`error: expected a set but found a string: "hush"`, `error: found "hush`, "error: attribute 'root:hush:1:' missing", "error: 'two hush",
		"error: attribute 'hello' missing", "error: builder for '/nix/store/aaa-x-1.0.drv' failed with exit code 1", `x> cannot find "y'z"`}
	err = answer(&realise.BuildError{What: "build x for y", Lines: quoting, Err: errors.New("exit status 1")})
	want := `build x for y: nix: error: while parsing TOML | error: expected a set but found a string: "…" | error: found "…" | error: attribute '…' missing` +
		` | error: '…' | error: attribute 'hello' missing | error: builder for '/nix/store/aaa-x-1.0.drv' failed with exit code 1 | x> cannot find "y'z"`
	if err.Error() != want || strings.Contains(publicText(err), "hush") {
		t.Errorf("%q, and to everybody %q", err, publicText(err))
	}
	var s *registry.StatusError
	err = answer(fmt.Errorf("build x: %w", realise.ErrBusy))
	if !errors.As(err, &s) || s.Status != http.StatusTooManyRequests || s.RetryAfter <= 0 || s.Text != "" {
		t.Errorf("%+v", err)
	}
}

// TestServerHolds: with this machine's own store a server holds what it serves, and lets go of what was not for long.
func TestServerHolds(t *testing.T) {
	if !local.Exists() {
		t.Skip("needs a Nix store")
	}
	withNix(t)
	log := slog.New(slog.DiscardHandler)
	c := Config{Data: t.TempDir(), Stores: []string{"local"}, Keep: time.Hour, Log: log}
	roots := foldersIn(c.Data).gcroots
	old := filepath.Join(roots, "ab")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	last := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, last, last); err != nil {
		t.Fatal(err)
	}
	made, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what was not served for long is still held")
		}
	}
	_, err = made.source.Manifest(t.Context(), manifest.Request{Repository: "hello", Tag: "latest", Accept: anyType})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // not every store has one
		t.Error(err)
	}
	if links, _ := filepath.Glob(filepath.Join(roots, "*", "*")); err == nil && len(links) == 0 {
		t.Error("what is served is not held")
	}
	if err := made.Close(); err != nil {
		t.Error(err)
	}
}

// later is the error of a store that says when it is to be asked again.
type later struct{ error }

func (later) RetryAfter() time.Duration { return 2 * time.Minute }
func (l later) Unwrap() error           { return l.error }

// What a cache says of when to come again is the client's to know.
func TestAnswerOfABusyCache(t *testing.T) {
	for err, want := range map[error]time.Duration{
		fmt.Errorf("open x: %w", later{store.ErrUnavailable}): 2 * time.Minute, store.ErrUnavailable: 0,
	} {
		var s *registry.StatusError
		if !errors.As(answer(err), &s) || s.Status != http.StatusBadGateway || s.RetryAfter != want {
			t.Errorf("%v: %+v", err, s)
		}
	}
}
