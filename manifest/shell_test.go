package manifest_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store/storetest"
)

// TestShellOfPackages needs no builder.
func TestShellOfPackages(t *testing.T) {
	m, _, _ := withHello()
	src := newSource(t, "", m)
	if _, err := src.Inspect(ctx, "shell/hello", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a bash: %v", err)
	}
	bash := m.Add("bash-5.2", storetest.Files{"bin/bash": elf(machineAMD64)})
	m.Add("coreutils-9.4", storetest.Files{"bin/ls": elf(machineAMD64)})
	m.Add("zz-1", storetest.Files{"bin/bash": elf(machineAMD64)})
	src = newSource(t, "", m)
	for name, want := range map[string]struct{ title, links string }{
		"shell":                {"shell", "bash-5.2+coreutils-9.4"},
		"shell/zz/hello":       {"shell/hello/zz", "bash-5.2+coreutils-9.4+hello-2.12.1+zz-1"},
		"shell/hello/zz/hello": {"shell/hello/zz", "bash-5.2+coreutils-9.4+hello-2.12.1+zz-1"},
		"shell/bash":           {"shell/bash", "bash-5.2+coreutils-9.4"},
		"shell/coreutils/bash": {"shell/bash/coreutils", "bash-5.2+coreutils-9.4"},
	} {
		r := inspect(t, src, name, "latest")
		if !strings.HasSuffix(layersOf(r), " "+want.links) || r.Title != want.title || !slices.Equal(r.Command, []string{bash.Abs() + "/bin/bash"}) {
			t.Errorf("%s is %s, runs %s and has %s", name, r.Title, r.Command, layersOf(r))
		}
		if tags, err := src.Tags(ctx, name); err != nil || !slices.Equal(tags, []string{"latest"}) {
			t.Errorf("%s has the tags %s, %v", name, tags, err)
		}
		if _, err := src.Inspect(ctx, name, "5.2"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s:5.2: %v", name, err)
		}
	}
	m.Add("bash-interactive-5.2", storetest.Files{"bin/bash": elf(machineAMD64)})
	if r := inspect(t, newSource(t, "", m), "shell", "latest"); !strings.HasSuffix(layersOf(r), " bash-interactive-5.2+coreutils-9.4") {
		t.Errorf("shell has %s", layersOf(r))
	}
}

// TestShellOfBuilds takes what is interactive, and from the store what is there.
func TestShellOfBuilds(t *testing.T) {
	w := newWorkshop()
	w.store.Add("bash-5.2", storetest.Files{"bin/bash": elf(machineAMD64)})
	w.plan("bashInteractive", "bash-interactive-5.3")
	w.plan("coreutils", "coreutils-9.4")
	src := w.source(t)
	r := inspect(t, src, "shell/htop/hello", "latest")
	if !strings.HasSuffix(layersOf(r), " bash-interactive-5.3+coreutils-9.4+hello-2.12.1+htop-3.3.0") || r.Title != "shell/hello/htop" {
		t.Errorf("%s has %s", r.Title, layersOf(r))
	}
	if b := w.builds(); b != "bashInteractive, coreutils, htop" {
		t.Errorf("built: %s", b)
	}
	known := newWorkshop()
	known.store.Add("bash-5.2", storetest.Files{"bin/bash": elf(machineAMD64)})
	known.store.Add("coreutils-9.4", storetest.Files{"bin/ls": elf(machineAMD64)})
	if tags, err := known.source(t).Tags(ctx, "shell"); err != nil || !slices.Equal(tags, []string{"latest"}) {
		t.Errorf("a shell that nothing is built of has the tags %s, %v", tags, err)
	}
	if r := inspect(t, src, "shell", "nixos-25.05"); !strings.HasSuffix(layersOf(r), " bash-interactive-5.3+coreutils-9.4") {
		t.Errorf("shell has %s", layersOf(r))
	}
}
