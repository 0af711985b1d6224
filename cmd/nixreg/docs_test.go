package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// docs are README.md and docs/*.md, by name.
func docs(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	all := make(map[string]string)
	for _, name := range append(names, "../../README.md") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = string(b)
	}
	return all
}

// blocks are a page's fenced blocks of a language.
func blocks(page, language string) (all []string) {
	for i, block := range strings.Split("\n"+page, "\n```") {
		head, body, _ := strings.Cut(block, "\n")
		if i%2 == 1 && head == language {
			all = append(all, body)
		}
	}
	return all
}

var (
	programInDocs = regexp.MustCompile(`^(go run \./cmd/nixreg|nixreg) `)
	quotedInDocs  = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	endOfCommand  = regexp.MustCompile(` +[|#>].*$`)
)

// Each command of the documentation is one that the program takes: its flags, and the number of its arguments.
func TestEachCommandOfTheDocsIsTaken(t *testing.T) {
	n := 0
	for name, page := range docs(t) {
		for _, block := range append(blocks(page, ""), blocks(page, "sh")...) {
			for line := range strings.Lines(block) {
				line = strings.TrimSpace(line)
				program := programInDocs.FindString(line)
				if program == "" {
					continue
				}
				n++
				args := endOfCommand.ReplaceAllString(quotedInDocs.ReplaceAllString(line[len(program):], "QUOTED"), "")
				args = strings.ReplaceAll(args, "-key QUOTED", "-key k:"+strings.Repeat("A", 43)+"=")
				if err := takes(strings.Fields(args)); err != nil {
					t.Errorf("%s: %s: %v", name, line, err)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("%d commands were found", n)
	}
}

// takes reports what is wrong with a command line, as far as that can be told before it runs.
func takes(args []string) error {
	root := newRoot(&program{stdout: io.Discard, stderr: io.Discard})
	for _, cmd := range root.Commands() {
		cmd.RunE = func(*cobra.Command, []string) error { return nil }
	}
	root.SetArgs(args)
	return root.ExecuteContext(context.Background())
}

// The configuration files of the pages have no key that the program does not know.
func TestConfigurationFilesOfTheDocs(t *testing.T) {
	pages := docs(t)
	for page, first := range map[string]string{"running.md": "listen:", "stores.md": "store:", "mirror.md": "mirrors:"} {
		found := false
		for _, block := range blocks(pages[page], "yaml") {
			if strings.HasPrefix(block, first) {
				found = true
				if _, _, err := parsed(page, block); err != nil {
					t.Error(err)
				}
			}
		}
		if !found {
			t.Errorf("%s has no block that begins with %s", page, first)
		}
	}
}
