package manifest_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// workshop is a Builder whose builds put paths into a store.
type workshop struct {
	mu              sync.Mutex
	store           *storetest.Memory
	plans           map[string]func(arch string) ([]store.Path, error) // by attribute
	mains, programs map[string]string                                  // what the metadata of attributes tells, main outputs as paths
	ref             string
	found           []string // names that were looked for
	built           []string // attributes and architectures
}

func (w *workshop) Find(_ context.Context, name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, name)
	if w.plans[name] != nil {
		return name, nil
	}
	for attr := range w.plans {
		if strings.EqualFold(attr, name) {
			return attr, nil
		}
	}
	return "", fmt.Errorf("attribute %s: %w", name, fs.ErrNotExist)
}

func (w *workshop) Build(ctx context.Context, attr, arch string) (packages.Built, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.built = append(w.built, strings.TrimSpace(attr+" "+arch))
	outputs, err := w.plans[attr](arch)
	return packages.Built{Outputs: outputs, Main: store.Path(w.mains[attr]), Program: w.programs[attr]}, err
}

func (w *workshop) Ref() string { return w.ref }

// builds returns what was built since the last call, sorted.
func (w *workshop) builds() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.built)
	defer func() { w.built = nil }()
	return strings.Join(w.built, ", ")
}

// plan lets the workshop build a path with a program for an architecture, its own is amd64.
func (w *workshop) plan(attr, path string, refs ...store.Path) {
	w.plans[attr] = func(arch string) ([]store.Path, error) {
		machine := map[string]byte{"": machineAMD64, "amd64": machineAMD64, "arm64": machineARM64}[arch]
		if machine == 0 {
			return nil, fmt.Errorf("attribute %s for %s: %w", attr, arch, fs.ErrNotExist)
		}
		name, _, _ := strings.Cut(path, "-")
		return []store.Path{w.store.Add(path, storetest.Files{"bin/" + name: elf(machine), "bin/" + name + "-config": elf(machine)}, refs...)}, nil
	}
}

// planFile lets it build one file.
func (w *workshop) planFile(attr, path, data string) {
	w.plans[attr] = func(string) ([]store.Path, error) {
		return []store.Path{w.store.Add(path, storetest.Files{"": storetest.File(data)})}, nil
	}
}

func newWorkshop() *workshop {
	m, lib, _ := withHello()
	w := &workshop{store: m, plans: make(map[string]func(string) ([]store.Path, error)), mains: make(map[string]string), programs: make(map[string]string), ref: "nixos-25.05"}
	w.plan("htop", "htop-3.3.0", lib)
	w.plan("python3Packages.requests", "python3.12-requests-2.31.0")
	w.plan("hello", "hello-2.14")
	return w
}

// source serves what there is, and what the workshop builds.
func (w *workshop) source(t *testing.T, change ...func(*manifest.Config)) *manifest.Source {
	t.Helper()
	cfg := manifest.Config{Stores: []store.Store{w.store}, Cache: new(digests.Memory), Builder: w}
	for _, c := range change {
		c(&cfg)
	}
	src, err := manifest.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func withArchs(archs ...string) func(*manifest.Config) {
	return func(c *manifest.Config) { c.Architectures = archs }
}

func withFiles(images ...string) func(*manifest.Config) {
	return func(c *manifest.Config) { c.Images = images }
}
