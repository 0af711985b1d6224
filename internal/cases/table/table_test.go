package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/cases"
)

// Each case of the list has a test, and each test that opens a case names one of the list.
func TestListAndTests(t *testing.T) {
	tests, err := find("../../..")
	if err != nil {
		t.Fatal(err)
	}
	tested, listed := make(map[string]bool), make(map[string]bool)
	for _, x := range tests {
		tested[x.id] = true
	}
	for _, c := range cases.All() {
		if listed[c.ID] {
			t.Errorf("case %s is listed twice", c.ID)
		}
		listed[c.ID] = true
		if !tested[c.ID] {
			t.Errorf("case %s has no test", c.ID)
		}
		if c.Situation == "" || c.Work == "" || !regexp.MustCompile(`^[HML](-[HML])?$`).MatchString(c.Severity) {
			t.Errorf("case %s is not described: %+v", c.ID, c)
		}
	}
	for _, x := range tests {
		if !listed[x.id] {
			t.Errorf("%s.%s opens case %s, which is not listed", x.pkg, x.run, x.id)
		}
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`func TestX(t *testing.T) { cases.Open(t, "I1"); t.Fail() }`, "I1 github.com/nixreg/nixreg/a.TestX"},
		{`func TestX(t *testing.T) { t.Fail() }; func TestY(t *testing.T) { cases.Open(t, "R1b") }`, "R1b github.com/nixreg/nixreg/a.TestY"},
		{`func TestX(t *testing.T) { t.Log(); cases.Open(t, "I1") }`, "error"},
		{`func TestX(t *testing.T) { t.Run("y", func(t *testing.T) { cases.Open(t, "I1") }) }`, "error"},
		{`func TestX(t *testing.T) { cases.Open(t, id) }`, "error"},
		{`func open(t *testing.T) { cases.Open(t, "I1") }`, "error"},
	} {
		dir := t.TempDir()
		src := "package a_test\nimport (\"testing\"; \"github.com/nixreg/nixreg/internal/cases\")\n" + c.body
		for _, name := range []string{"a/a_test.go", "a/testdata/b_test.go", "a/c.go"} {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		tests, err := find(dir)
		got := "error"
		if err == nil {
			got = ""
			for _, x := range tests {
				got += x.id + " " + x.pkg + "." + x.run
			}
		}
		if got != c.want {
			t.Errorf("%s\nfinds %q (%v), not %q", c.body, got, err, c.want)
		}
	}
}

// A case counts as failing only if its own test says so.
func TestRows(t *testing.T) {
	const stream = `{"Action":"run","Package":"nixreg/a","Test":"TestFails"}
{"Action":"output","Package":"nixreg/a","Test":"TestFails/sub","Output":"    a_test.go:7: it is 1, not 2\n"}
{"Action":"output","Package":"nixreg/a","Test":"TestFails","Output":"--- FAIL: TestFails (0.00s)\n"}
{"Action":"fail","Package":"nixreg/a","Test":"TestFails"}
{"Action":"fail","Package":"nixreg/a","Test":"TestPasses/sub"}
{"Action":"pass","Package":"nixreg/a","Test":"TestPasses"}
{"Action":"output","Package":"nixreg/a","Test":"TestSkips","Output":"    a_test.go:9: needs more\n"}
{"Action":"skip","Package":"nixreg/a","Test":"TestSkips"}
{"Action":"fail","Package":"nixreg/b","Test":"TestAbsent"}
{"Action":"fail","Package":"nixreg/a"}
`
	tests := []caseTest{{"A1", "nixreg/a", "TestFails"}, {"A2", "nixreg/a", "TestPasses"}, {"A3", "nixreg/a", "TestSkips"}, {"A4", "nixreg/a", "TestAbsent"}}
	var list []cases.Case
	for _, id := range []string{"A1", "A2", "A3", "A4", "A5"} {
		list = append(list, cases.Case{ID: id, Severity: "H", Situation: "nothing", Work: "none"})
	}
	var stderr, out bytes.Buffer
	outcomes, err := read(strings.NewReader(stream), tests, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(list, tests, outcomes)
	if err := write(&out, rows, true); err != nil {
		t.Fatal(err)
	}
	const want = `CASE  SEVERITY  TEST          RESULT
A1    H         a.TestFails   fails
A2    H         a.TestPasses  passes: take its skip away
A3    H         a.TestSkips   skipped: a_test.go:9: needs more
A4    H         a.TestAbsent  did not run
A5    H                       has no test

A1 a.TestFails: nothing (none)
    a_test.go:7: it is 1, not 2
`
	if out.String() != want {
		t.Errorf("the table is\n%s\nnot\n%s", out.String(), want)
	}
	var expected []bool
	for _, r := range rows {
		expected = append(expected, r.expected)
	}
	if !slices.Equal(expected, []bool{true, false, true, false, false}) {
		t.Errorf("as expected are %v", expected)
	}
}
