package program_test

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// header is the start of an ELF file.
func header(class byte, order binary.ByteOrder, machine uint16) string {
	b := make([]byte, 64)
	copy(b, "\x7fELF")
	b[4], b[5] = class, 2
	if order == binary.LittleEndian {
		b[5] = 1
	}
	order.PutUint16(b[18:], machine)
	return string(b)
}

// TestMachines has the numbers of <elf.h>, and what GOARCH calls them.
func TestMachines(t *testing.T) {
	const elf32, elf64 = 1, 2
	little, big := binary.LittleEndian, binary.BigEndian
	for want, start := range map[string]string{
		"amd64": header(elf64, little, 62), "386": header(elf32, little, 3),
		"arm64": header(elf64, little, 183), "arm": header(elf32, little, 40),
		"riscv64": header(elf64, little, 243), "s390x": header(elf64, big, 22), "loong64": header(elf64, little, 258),
		"ppc64le": header(elf64, little, 21), "ppc64": header(elf64, big, 21),
		"mips": header(elf32, big, 8), "mipsle": header(elf32, little, 8),
		"mips64": header(elf64, big, 8), "mips64le": header(elf64, little, 8),
	} {
		if got := architecture(t, storetest.Files{"bin/x": storetest.Exec(start)}); got != want {
			t.Errorf("a program for %s is for %q", want, got)
		}
	}
	for name, start := range map[string]string{
		"a script": "#!/bin/sh\n", "an empty file": "", "a cut header": header(elf64, little, 62)[:19],
		"arm64, big-endian": header(elf64, big, 183), "arm, big-endian": header(elf32, big, 40), "riscv32": header(elf32, little, 243),
		"sparc": header(elf64, big, 43),
	} {
		if got := architecture(t, storetest.Files{"bin/x": storetest.Exec(start)}); got != "" {
			t.Errorf("%s is for %q", name, got)
		}
	}
	if got := architecture(t, storetest.Files{"bin/x": storetest.File(header(elf64, little, 62))}); got != "" {
		t.Errorf("a file that nobody can run is for %q", got)
	}
}

// TestArchitectures are all that a header can name, whatever it says.
func TestArchitectures(t *testing.T) {
	found := make(map[string]bool)
	for _, class := range []byte{1, 2} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			for machine := range 512 { // the ABI's numbers end below
				start := header(class, order, uint16(machine))
				if arch := architecture(t, storetest.Files{"bin/x": storetest.Exec(start)}); arch != "" {
					found[arch] = true
				}
			}
		}
	}
	if want := slices.Sorted(maps.Keys(found)); !slices.Equal(program.Architectures(), want) {
		t.Errorf("architectures are %q, those of programs %q", program.Architectures(), want)
	}
	for name := range found {
		if !program.IsArchitecture(name) {
			t.Errorf("%s is no architecture", name)
		}
	}
	for _, name := range []string{"", "x86_64", "AMD64", "store"} {
		if program.IsArchitecture(name) {
			t.Errorf("%q is an architecture", name)
		}
	}
}

func architecture(t *testing.T, files storetest.Files) string {
	t.Helper()
	m := storetest.New()
	arch, err := program.Architecture(t.Context(), m, []store.Path{m.Add("x-1", files)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return arch
}

// TestMainProgram is which program an image runs, and why it runs none.
func TestMainProgram(t *testing.T) {
	run := storetest.Exec("#!/bin/sh\n")
	for name, c := range map[string]struct {
		files []storetest.Files
		asked string
		file  string // below the store path
		note  string
	}{
		"by name":          {[]storetest.Files{{"bin/a": run, "bin/b": run}}, "b", "bin/b", ""},
		"of the second":    {[]storetest.Files{{"bin/a": run}, {"bin/b": run}}, "b", "bin/b", ""},
		"the only one":     {[]storetest.Files{{"bin/a": run, "bin/.a-wrapped": run, "bin/data": storetest.File("")}}, "x", "bin/a", ""},
		"not runnable":     {[]storetest.Files{{"bin/x": storetest.File(""), "bin/a": run}}, "x", "bin/a", ""},
		"none":             {[]storetest.Files{{"share/x": run}}, "x", "", "no program in bin"},
		"dangling":         {[]storetest.Files{{"bin/x": storetest.Link("nowhere")}}, "x", "", "no program in bin"},
		"several":          {[]storetest.Files{{"bin/a": run, "bin/b": run}}, "x", "", "several programs in bin, none of them called x"},
		"several, unasked": {[]storetest.Files{{"bin/a": run}, {"bin/b": run}}, "", "", "several programs in bin"},
	} {
		m := storetest.New()
		var contents []store.Path
		for _, f := range c.files {
			contents = append(contents, m.Add("x-1", f))
		}
		file, note, err := program.Main(t.Context(), m, contents, c.asked)
		if c.file != "" {
			c.file = contents[len(contents)-1].Abs() + "/" + c.file
		}
		if err != nil || file != c.file || note != c.note {
			t.Errorf("%s: %q, %q, %v, not %q, %q", name, file, note, err, c.file, c.note)
		}
	}
}

// broken is a store that nothing can be read from.
type broken struct{ store.Store }

var errBroken = errors.New("broken")

func (broken) Open(context.Context, store.Path) (store.Tree, error) { return nil, errBroken }

// TestUnreadable: what cannot be read is an error, and no image for the default architecture.
func TestUnreadable(t *testing.T) {
	m := storetest.New()
	p := m.Add("x-1", storetest.Files{"bin/x": storetest.Exec("#!/bin/sh\n")})
	if _, err := program.Architecture(t.Context(), broken{m}, []store.Path{p}, nil); !errors.Is(err, errBroken) {
		t.Errorf("error is %v", err)
	}
}
