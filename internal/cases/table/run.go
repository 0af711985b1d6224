package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/cases"
)

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
}

// outcome is what became of one test.
type outcome struct {
	action string   // pass, fail or skip; "" if it did not run
	said   []string // the lines it printed, without those that go test adds
}

// run runs tests with the cases open, each once. What belongs to no test, such as a file that does not compile, goes to
// stderr.
func run(ctx context.Context, root string, tests []caseTest, stderr io.Writer) (map[caseTest]*outcome, error) {
	var names, pkgs []string
	for _, t := range tests {
		names, pkgs = append(names, regexp.QuoteMeta(t.run)), append(pkgs, t.pkg)
	}
	slices.Sort(pkgs)
	args := append([]string{"test", "-json", "-count=1", "-run", "^(" + strings.Join(names, "|") + ")$"}, slices.Compact(pkgs)...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = root, stderr
	cmd.Env = append(os.Environ(), cases.Variable+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	all, err := read(stdout, tests, stderr)
	var failed *exec.ExitError // as it should be: the tests fail
	if ended := cmd.Wait(); err == nil && !errors.As(ended, &failed) {
		err = ended
	}
	return all, err
}

// read takes the outcome of tests, and of nothing else, from what go test -json prints.
func read(r io.Reader, tests []caseTest, stderr io.Writer) (map[caseTest]*outcome, error) {
	all := make(map[caseTest]*outcome)
	byName := make(map[[2]string]*outcome)
	for _, t := range tests {
		all[t] = new(outcome)
		byName[[2]string{t.pkg, t.run}] = all[t]
	}
	for dec := json.NewDecoder(r); ; {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go test prints: %w", err)
		}
		name, sub, _ := strings.Cut(e.Test, "/")
		o := byName[[2]string{e.Package, name}]
		switch {
		case o == nil && e.Action == "build-output":
			fmt.Fprint(stderr, e.Output)
		case o == nil:
		case e.Action == "output":
			o.say(e.Output)
		case sub == "" && slices.Contains([]string{"pass", "fail", "skip"}, e.Action):
			o.action = e.Action
		}
	}
}

// say keeps a line that a test printed.
func (o *outcome) say(line string) {
	line = strings.TrimRight(line, " \n")
	if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
		o.said = append(o.said, line)
	}
}
