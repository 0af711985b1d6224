package realise_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/realise"
)

// packages is a set of derivations that need nothing but the shell of the machine; %[1]s is another in each test.
const packages = `
  let mk = name: script: derivation {
    inherit name system; salt = "%[1]s"; builder = "/bin/bash"; PATH = "/usr/bin:/bin"; LC_ALL = "C.UTF-8";
    args = [ "-euc" (script + "\nexit 0\n") ]; }; in {
    hello = mk "hello-1.5" "mkdir $out; echo $salt > $out/hello" // { pname = "hello"; version = "1.5"; };
    python3Packages.requests = mk "requests-2.0" "echo requests > $out";
    fails = mk "fails-1" "echo oh no >&2; exit 3";
    noisy = mk "noisy-1" "head -c 4000000 /dev/zero | tr '\\0' x | fold >&2; echo > $out";
    hangs = mk "hangs-1" "exec 3> %[2]s; echo here >&3; trap : TERM; sleep 1000; sleep 1000";
    broken = throw "this is broken";
    notAPackage = { };
    greedy = builtins.deepSeq (builtins.genList (x: { inherit x; y = [ x x ]; }) 3000000) { };
    web = mk "stream-web" "echo > $out" // { imageName = "web"; imageTag = "v1"; };
    many = derivation { name = "many-1"; inherit system; salt = "%[1]s"; outputs = [ "out" "dev" ]; builder = "/bin/bash"; PATH = "/usr/bin:/bin";
      args = [ "-euc" "echo > $out; echo > $dev\nexit 0" ]; };
  }`

// realNix prepares a test with the Nix of the machine.
func realNix(t *testing.T) {
	t.Helper()
	if os.Getenv("NIXREG_E2E") != "1" {
		t.Skip("needs a real Nix store: set NIXREG_E2E=1 where there is one")
	}
	t.Setenv("NIX_REMOTE", "local")
	t.Setenv("NIX_CONFIG", "build-users-group =\nsandbox = false\nsubstitute = false")
	t.Setenv("HOME", t.TempDir())
}

// sources writes the packages as a flake and as a file, and makes the pipe that "hangs" opens.
func sources(t *testing.T) (flake, file, pipe string) {
	t.Helper()
	dir := t.TempDir()
	pipe = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(packages, dir, pipe)
	write(t, filepath.Join(dir, "flake.nix"), `{ outputs = { self }: let set = system: `+set+`; in {
		packages.x86_64-linux = { inherit (set "x86_64-linux") hello fails noisy hangs broken web many; };
		packages.aarch64-linux = { inherit (set "aarch64-linux") hello; };
		legacyPackages.x86_64-linux = set "x86_64-linux"; }; }`)
	file = filepath.Join(dir, "default.nix")
	write(t, file, `{ system ? builtins.currentSystem, other ? 1 }: `+set)
	return dir, file, pipe
}

func real(t *testing.T, o realise.Options) *realise.Builder {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	b, err := realise.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func run(t *testing.T, name string, arg ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, arg...).CombinedOutput()
	return string(out), err
}

func TestRealBuilds(t *testing.T) {
	realNix(t)
	flake, file, _ := sources(t)
	for kind, o := range map[string]realise.Options{"flake": {Installable: flake}, "file": {File: file}} {
		t.Run(kind, func(t *testing.T) {
			b := real(t, o)
			attr, err := b.Find(t.Context(), "python3packages.requests", host)
			if attr != "python3Packages.requests" || err != nil {
				t.Fatalf("Find = %q, %v", attr, err)
			}
			for attr, want := range map[realise.Attr]string{"hello": "hello-1.5", attr: "requests-2.0", "noisy": "noisy-1", "many": "many-1"} {
				r, err := b.Build(t.Context(), attr, host)
				paths := r.Outputs
				if err != nil || len(paths) == 0 || paths[0].Name() != want {
					t.Errorf("Build(%s) = %q, %v; want %s", attr, paths, err, want)
					continue
				}
				if _, err := os.Stat(paths[0].Abs()); err != nil {
					t.Error(err)
				}
			}
			for _, attr := range []realise.Attr{"absent", "hello.absent", "python3Packages", "notAPackage"} {
				if _, err := b.Build(t.Context(), attr, host); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Build(%s): %v; want fs.ErrNotExist", attr, err)
				}
			}
			for attr, says := range map[realise.Attr]string{"fails": "oh no", "broken": "this is broken"} {
				_, err := b.Build(t.Context(), attr, host)
				var failed *realise.BuildError
				if !errors.As(err, &failed) || !strings.Contains(err.Error(), says) {
					t.Errorf("Build(%s): %v; want one that says %q", attr, err, says)
				}
			}
			_, err = b.Build(t.Context(), "hello", "aarch64-linux")
			if err == nil || !strings.Contains(err.Error(), "aarch64-linux") {
				t.Errorf("Build for another machine: %v", err)
			}
		})
	}
}

func TestRealDescribe(t *testing.T) {
	realNix(t)
	flake, file, _ := sources(t)
	for kind, o := range map[string]realise.Options{"flake": {Installable: flake}, "file": {File: file}} {
		b := real(t, o)
		for attr, want := range map[realise.Attr]realise.Description{
			"hello": {Name: "hello-1.5", Pname: "hello", Version: "1.5", OutputsToInstall: []string{}},
			"web":   {Name: "stream-web", ImageName: "web", ImageTag: "v1", OutputsToInstall: []string{}},
		} {
			if got, err := b.Describe(t.Context(), attr, host); !reflect.DeepEqual(got, want) || err != nil {
				t.Errorf("%s: Describe(%s) = %+v, %v", kind, attr, got, err)
			}
			if got, err := b.Outputs(t.Context(), attr, host); len(got) != 1 || got[0].Name() != want.Name || err != nil {
				t.Errorf("%s: the outputs of %s are %v, %v", kind, attr, got, err)
			}
		}
		for _, attr := range []realise.Attr{"absent", "notAPackage"} {
			if _, err := b.Describe(t.Context(), attr, host); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: Describe(%s): %v", kind, attr, err)
			}
		}
	}
}

func TestRealMemory(t *testing.T) {
	realNix(t)
	_, file, _ := sources(t)
	b := real(t, realise.Options{File: file, Memory: 64 << 20})
	_, err := b.Describe(t.Context(), "greedy", host)
	var failed *realise.BuildError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("%v", err)
	}
}

// TestRealHang closes the builder under a builder of Nix's that does not end.
func TestRealHang(t *testing.T) {
	realNix(t)
	_, file, pipe := sources(t)
	b := real(t, realise.Options{File: file})
	done := start(t.Context(), b, "hangs")
	f, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if line, err := r.ReadString('\n'); line != "here\n" {
		t.Fatalf("%q, %v", line, err)
	}
	b.Close()
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil { // it ends with the last process that has the pipe
		t.Errorf("%q, %v", rest, err)
	}
	if r := <-done; !errors.Is(r.err, store.ErrUnavailable) {
		t.Errorf("%v", r.err)
	}
}

func TestRealRoots(t *testing.T) {
	realNix(t)
	_, file, _ := sources(t)
	b := real(t, realise.Options{File: file})
	var paths []store.Path
	for _, attr := range []realise.Attr{"hello", "python3Packages.requests", "noisy"} {
		built, err := b.Build(t.Context(), attr, host)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, built.Outputs[0])
	}
	hello := paths[0]
	r := roots(t, realise.RootsOptions{NixStore: "nix-store", Keep: time.Hour})
	if err := r.Hold(t.Context(), "ab", paths); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "nix-store", "--delete", hello.Abs()); err == nil {
		t.Errorf("Nix deletes what is held: %s", out)
	}
	r.SetClock(func() time.Time { return time.Now().Add(2 * time.Hour) })
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "nix-store", "--delete", hello.Abs()); err != nil {
		t.Errorf("Nix still holds what was let go: %s", out)
	}
	err := r.Hold(t.Context(), "cd", paths)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), string(hello)) {
		t.Errorf("Hold of what has gone: %v", err)
	}
}

func TestRealRootsRefused(t *testing.T) {
	realNix(t)
	t.Setenv("NIX_REMOTE", "unix:///absent/socket")
	lines := make(lineLog, 9)
	r := roots(t, realise.RootsOptions{NixStore: "nix-store", Log: slog.New(lines)})
	if err := r.Hold(t.Context(), "ab", []store.Path{helloPath}); err != nil {
		t.Error(err)
	}
	if got := <-lines; !strings.Contains(got, "/absent/socket") {
		t.Errorf("log %q", got)
	}
}

func TestRealStoreBuildsAgain(t *testing.T) {
	realNix(t)
	flake, _, _ := sources(t)
	b := real(t, realise.Options{Installable: flake})
	inner, err := local.Open(local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	s := realise.NewStore(inner, b, new(records))
	built, err := b.Build(t.Context(), "hello", host)
	if err != nil {
		t.Fatal(err)
	}
	paths := built.Outputs
	before, err := store.Closure(t.Context(), s, paths...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remember(t.Context(), "hello", host, paths, before); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "nix-store", "--delete", paths[0].Abs()); err != nil {
		t.Fatal(out)
	}
	after, err := s.Object(context.Background(), paths[0])
	i := slices.IndexFunc(before, func(o *store.Object) bool { return o.Path == paths[0] })
	if err != nil || after.NarHash != before[i].NarHash {
		t.Errorf("%+v, %v", after, err)
	}
	if out, err := run(t, "nix-store", "--delete", paths[0].Abs()); err != nil {
		t.Fatal(out)
	}
	flakeFile := filepath.Join(flake, "flake.nix")
	text, err := os.ReadFile(flakeFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, flakeFile, strings.ReplaceAll(string(text), `salt = "`, `salt = "2`))
	outputs, err := b.Outputs(t.Context(), "hello", host)
	if err != nil || len(outputs) != 1 || outputs[0] == paths[0] || outputs[0].Name() != "hello-1.5" {
		t.Fatalf("outputs %v, %v", outputs, err)
	}
	if _, err := s.Object(t.Context(), paths[0]); !errors.Is(err, store.ErrExplained) {
		t.Errorf("what the flake does not have any more: %v", err)
	}
	if _, err := os.Lstat(outputs[0].Abs()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another package was built: %v", err)
	}
	if outputs, err := b.Outputs(t.Context(), "many", host); err != nil || len(outputs) != 2 {
		t.Errorf("of several outputs: %v, %v", outputs, err)
	}
}
