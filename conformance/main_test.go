package conformance_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// binary is the nixreg under test: the program that NIXREG names, or one that TestMain builds.
var binary string

// sideBySide is how many parallel tests run at once, unless -parallel says it: more than there are cores, because they wait for
// other processes and for time to pass.
const sideBySide = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given && runtime.GOMAXPROCS(0) < 4 {
		if err := flag.Set("test.parallel", sideBySide); err != nil {
			panic(err)
		}
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if given := os.Getenv("NIXREG"); given != "" {
		binary = given
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "nixreg-conformance")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other users run the binary, too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "nixreg")
	build := exec.Command("go", "build", "-o", binary, "github.com/nixreg/nixreg/cmd/nixreg")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build github.com/nixreg/nixreg/cmd/nixreg: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// endToEnd skips a test that needs more than Go, unless the run is meant to have it all.
func endToEnd(t *testing.T) {
	t.Helper()
	if os.Getenv("NIXREG_E2E") != "1" {
		t.Skip("needs Docker or a real Nix store: run with NIXREG_E2E=1")
	}
}

// output runs a program of the machine and returns what it prints; its failure, or its absence, ends the test.
func output(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %.300q: %v\n%s%s", name, args, err, out, stderrOf(err))
	}
	return string(out)
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}
