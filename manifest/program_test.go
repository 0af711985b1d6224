package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store/storetest"
)

// TestArchitectureOfClosure: contents without programs take the architecture of what they need.
func TestArchitectureOfClosure(t *testing.T) {
	m := storetest.New()
	tool := m.Add("tool-1", storetest.Files{"bin/tool": elf(machineARM64)})
	between := m.Add("between-1", storetest.Files{"share/x": storetest.File("")}, tool)
	m.Add("data-1", storetest.Files{"share/x": storetest.File("")}, between)
	m.Add("script-1", storetest.Files{"bin/script": storetest.Exec("#!/bin/sh\n")}, between)
	own := elf(machineAMD64)
	m.Add("own-1", storetest.Files{"bin/own": own}, between)
	m.Add("alone-1", storetest.Files{"share/y": storetest.File("")})
	src := newSource(t, "", m)
	for repository, want := range map[string]string{"data": "arm64", "script": "arm64", "own": "amd64", "alone": "amd64"} {
		if got := architectures(t, src, repository, "1"); got != want {
			t.Errorf("%s is for %s, not %s", repository, got, want)
		}
	}
}

// TestMacPrograms: programs for macOS are refused, thin or universal, also where only the closure has them; Java classes,
// which start like universal programs, are none.
func TestMacPrograms(t *testing.T) {
	pad := strings.Repeat("\x00", 32)
	for name, c := range map[string]struct {
		start  string
		refuse bool
	}{
		"thin 64":        {"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", true},
		"thin 32":        {"\xfe\xed\xfa\xce\x00\x00\x00\x12", true},
		"universal":      {"\xca\xfe\xba\xbe\x00\x00\x00\x02", true},
		"class, Java 1":  {"\xca\xfe\xba\xbe\x00\x03\x00\x2d", false},
		"class, Java 17": {"\xca\xfe\xba\xbe\x00\x00\x00\x3d", false},
		"script":         {"#!/bin/sh\n", false},
		"short":          {"\xca\xfe\xba\xbe", false},
	} {
		m := storetest.New()
		item := storetest.Exec(c.start + pad)
		if name == "short" {
			item = storetest.Exec(c.start)
		}
		p := m.Add("hello-1", storetest.Files{"bin/hello": item})
		m.Add("user-1", storetest.Files{"share/x": storetest.Link(p.Abs())}, p)
		for _, repository := range []string{"hello", "user"} {
			_, err := newSource(t, "", m).Inspect(ctx, repository, "latest")
			if c.refuse && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), string(p))) || !c.refuse && err != nil {
				t.Errorf("%s, %s: %v", name, repository, err)
			}
		}
	}
}

// TestSeveralPrograms: of several programs an image runs the one that its package is called after.
func TestSeveralPrograms(t *testing.T) {
	for path, programs := range map[string][]string{
		"bash-5.3":                {"bash", "bashbug"}, // as today
		"bash-interactive-5.3-p0": {"bash", "bashbug"},
	} {
		m, files := storetest.New(), storetest.Files{}
		for _, p := range programs {
			files["bin/"+p] = elf(machineAMD64)
		}
		p := m.Add(path, files)
		if r := inspect(t, newSource(t, "", m), "store/"+p.Hash(), "latest"); len(r.Command) != 1 || !strings.HasSuffix(r.Command[0], "/bin/bash") {
			t.Errorf("%s of %q runs %q: %s", path, programs, r.Command, r.CommandNote)
		}
	}
}
