// Command table runs the tests of the open cases and prints what became of them.
//
//	go run ./internal/cases/table [-why]
//
// Each case should fail. The exit status is 1 if a case passes, whose skip is to be taken away, or if one has no test or its
// test did not run. A test that needs more than Go is run with NIXREG_E2E=1, and else shown with the reason of its skip.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/nixreg/nixreg/internal/cases"
)

func main() {
	why := flag.Bool("why", false, "print what the failing tests say, too")
	flag.Parse()
	asExpected, err := show(context.Background(), *why)
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
	}
	if err != nil || !asExpected {
		os.Exit(1)
	}
}

// show prints the table, and reports whether every case fails.
func show(ctx context.Context, why bool) (bool, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return false, fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	tests, err := find(root)
	if err != nil {
		return false, err
	}
	outcomes, err := run(ctx, root, tests, os.Stderr)
	if err != nil {
		return false, err
	}
	rows := rowsOf(cases.All(), tests, outcomes)
	if err := write(os.Stdout, rows, why); err != nil {
		return false, err
	}
	for _, r := range rows {
		if !r.expected {
			return false, nil
		}
	}
	return true, nil
}

// row is a line of the table.
type row struct {
	cases.Case
	test, result string
	expected     bool
	said         []string
}

// rowsOf are the cases in their order, each with all its tests.
func rowsOf(all []cases.Case, tests []caseTest, outcomes map[caseTest]*outcome) []row {
	var rows []row
	for _, c := range all {
		n := len(rows)
		for _, t := range tests {
			if t.id == c.ID {
				rows = append(rows, rowOf(c, t, outcomes[t]))
			}
		}
		if len(rows) == n {
			rows = append(rows, row{Case: c, result: "has no test"})
		}
	}
	return rows
}

func rowOf(c cases.Case, t caseTest, o *outcome) row {
	r := row{Case: c, test: strings.TrimPrefix(t.pkg, "nixreg/") + "." + t.run}
	switch o.action {
	case "fail":
		r.result, r.expected, r.said = "fails", true, o.said
	case "pass":
		r.result = "passes: take its skip away"
	case "skip":
		r.result, r.expected = "skipped: "+strings.TrimSpace(strings.Join(o.said, " ")), true
	default:
		r.result = "did not run"
	}
	return r
}

func write(w io.Writer, rows []row, why bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CASE\tSEVERITY\tTEST\tRESULT")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.ID, r.Severity, r.test, r.result)
	}
	if err := tw.Flush(); err != nil || !why {
		return err
	}
	for _, r := range rows {
		if len(r.said) > 0 {
			fmt.Fprintf(w, "\n%s %s: %s (%s)\n%s\n", r.ID, r.test, r.Situation, r.Work, strings.Join(r.said, "\n"))
		}
	}
	return nil
}
