package main

import (
	"os"
	"regexp"
	"slices"
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
		names = append(names, s.name)
	}
	slices.Sort(names)
	if flags := serveFlags(); !slices.Equal(names, flags) {
		t.Errorf("settings are\n%q, flags\n%q", names, flags)
	}
}

func TestEachFlagIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/running.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllSubmatch(page, -1) {
		rows = append(rows, string(m[1]))
	}
	slices.Sort(rows)
	if flags := serveFlags(); !slices.Equal(rows, flags) {
		t.Errorf("the page has\n%q, flags are\n%q", rows, flags)
	}
}
