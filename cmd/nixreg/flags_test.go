package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// serveFlags are the names of all flags of serve, sorted.
func serveFlags() (names []string) {
	c, cmd := new(config), new(cobra.Command)
	c.sourceFlags(cmd, "info")
	c.serverFlags(cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	slices.Sort(names)
	return names
}

func TestEachFlagIsASetting(t *testing.T) {
	names := []string{"config"}
	for _, s := range settings() {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	if flags := serveFlags(); !slices.Equal(names, flags) {
		t.Errorf("settings are\n%q, flags\n%q", names, flags)
	}
}

// flagRows are the rows of a page's tables that begin with a flag: its name, the word for its value, and its default.
func flagRows(t *testing.T, page string) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][2]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)(?:[ =]([^`]+))?` \\| ([^|]*) ?\\|").FindAllStringSubmatch(string(text), -1) {
		rows[m[1]] = [2]string{strings.ReplaceAll(m[2], `\|`, "|"), strings.Trim(m[3], "` ")}
	}
	return rows
}

// What the help says of a flag, its page says with the same word and the same default.
func TestEachFlagIsDocumented(t *testing.T) {
	rows := flagRows(t, "running.md")
	c, cmd := new(config), new(cobra.Command)
	c.sourceFlags(cmd, "info")
	c.serverFlags(cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		row, ok := rows[f.Name]
		if !ok {
			t.Errorf("--%s is not on the page", f.Name)
			return
		}
		delete(rows, f.Name)
		word, _ := pflag.UnquoteUsage(f)
		if word != row[0] {
			t.Errorf("--%s: the help has %q, the page %q", f.Name, word, row[0])
		}
		if f.Value.Type() != "bool" && f.DefValue != "[]" && f.DefValue != "" && f.DefValue != row[1] {
			t.Errorf("--%s: the default is %q, on the page %q", f.Name, f.DefValue, row[1])
		}
	})
	for name := range rows {
		t.Errorf("the page has --%s, which is no flag", name)
	}
}

// The flags that one command alone has are on its own page.
func TestEachCommandIsDocumented(t *testing.T) {
	common := append(serveFlags(), "help")
	p := new(program)
	for page, cmd := range map[string]*cobra.Command{"pull.md": pullCommand(p), "export.md": exportCommand(p)} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			written := strings.Contains(string(text), "--"+f.Name) || f.Shorthand != "" && strings.Contains(string(text), "`-"+f.Shorthand)
			if !written && (page == "pull.md" || !slices.Contains(common, f.Name)) {
				t.Errorf("%s does not tell of --%s", page, f.Name)
			}
		})
		for name := range flagRows(t, page) {
			if cmd.Flags().Lookup(name) == nil {
				t.Errorf("%s has --%s, which is no flag", page, name)
			}
		}
	}
	page := docs(t)["running.md"]
	verifyCommand(p).Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(page, "`--"+f.Name) {
			t.Errorf("running.md does not tell of --%s", f.Name)
		}
	})
	for _, cmd := range newRoot(p).Commands() {
		if name := cmd.Name(); name != "help" && !strings.Contains(page, "\n| `"+name) {
			t.Errorf("running.md has no row for %s", name)
		}
	}
}
