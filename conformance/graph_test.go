package conformance_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nixreg/nixreg"

// pkg is what go list says of one package of this module.
type pkg struct {
	ImportPath, Name, Doc, Dir string
	GoFiles                    []string
	Deps                       []string // everything it imports, and what that imports
	TestImports, XTestImports  []string // direct
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,Dir,GoFiles,Deps,TestImports,XTestImports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderrOf(err))
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// below reports whether an import path is tree or lies below it.
func below(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }

func isStd(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// Who must not come to know whom, not even through another package.
const (
	ggcr   = "github.com/google/go-containerregistry"
	mux    = "github.com/gorilla/mux"
	badger = "github.com/dgraph-io/badger"
	sqlite = "modernc.org"
)

var forbidden = map[string][]string{
	module + "/registry": {module + "/store", module + "/manifest", module + "/cmd", badger, sqlite},
	module + "/store":    {module + "/registry", module + "/manifest", module + "/cmd", ggcr, mux, badger},
	module + "/manifest": {module + "/registry", module + "/cmd", mux, sqlite},
	module + "/internal": {module + "/registry", module + "/manifest", module + "/store", module + "/cmd", ggcr, mux, badger, sqlite},

	module + "/manifest/draft":       {module + "/manifest/catalog"},
	module + "/manifest/document":    {module + "/store/hostfile", module + "/manifest/packages", module + "/manifest/draft", module + "/manifest/catalog"},
	module + "/manifest/dockertools": {module + "/store/hostfile", module + "/manifest/packages", module + "/manifest/draft", module + "/manifest/catalog"},

	module + "/manifest/packages": {module + "/manifest/layer", module + "/manifest/imagefile", ggcr},
	module + "/manifest/program":  {module + "/manifest/layer", module + "/manifest/imagefile", ggcr, badger},
}

// pure are packages that compute bytes from values: they read no file, no store, and wait for nothing.
var pure = []string{module + "/manifest/document", module + "/manifest/dockertools"}

func TestPurePackagesDoNoIO(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.ImportPath) {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				switch path := strings.Trim(imp.Path.Value, `"`); path {
				case "os", "net", "net/http", "context", "sync":
					t.Errorf("%s: %s imports %s", p.ImportPath, name, path)
				}
			}
		}
	}
}

// judges are what a package's tests may hold its work against, although it must not depend on it.
var judges = map[string]string{module + "/manifest/nixdb": sqlite}

// exempt are packages that may depend on what their tree must not. listing is where the descriptors of go-containerregistry
// are read that registry and manifest have in their interfaces; the rest of internal, and so store, stays free of it.
var exempt = map[string]string{module + "/internal/oci/listing": ggcr}

// wiring is the one package that names concrete stores; only the command imports it.
const wiring = module + "/internal/server"

// forTests are imported by tests alone, and by commands of their own: the list of known failures, and a Nix that is none.
var forTests = []string{module + "/internal/cases", module + "/internal/fakenix"}

// hostfile has neither an address nor credentials to choose: it holds what manifest adds to it.
const hostfile = module + "/store/hostfile"

// concrete are the packages below store that are one kind of store; only the wiring names them.
func concrete(path string) bool {
	return below(path, module+"/store") && path != module+"/store" && path != hostfile && path != module+"/store/disktree"
}

func TestImportGraph(t *testing.T) {
	all := packages(t)
	for _, p := range all {
		for tree, banned := range forbidden {
			if below(p.ImportPath, tree) && p.ImportPath != wiring {
				rejectImports(t, p, banned)
			}
		}
		for _, dep := range p.Deps {
			if concrete(dep) && !below(p.ImportPath, module+"/cmd") && p.ImportPath != wiring && !below(p.ImportPath, module+"/store") {
				t.Errorf("%s must not depend on %s: only internal/server names concrete stores", p.ImportPath, dep)
			}
			if dep == module+"/manifest" && below(p.ImportPath, dep) && p.ImportPath != module+"/manifest/export" {
				t.Errorf("%s must not depend on %s, which stands above it", p.ImportPath, dep)
			}
			if dep == wiring && !below(p.ImportPath, module+"/cmd") {
				t.Errorf("%s must not depend on %s: only a command does", p.ImportPath, dep)
			}
			if p.ImportPath == module+"/store" && !isStd(dep) {
				t.Errorf("store must not depend on %s: the standard library is enough", dep)
			}
			for _, tree := range forTests {
				if dep == tree && !below(p.ImportPath, tree) {
					t.Errorf("%s must not depend on %s: it is for tests alone", p.ImportPath, dep)
				}
			}
			if below(dep, module+"/conformance") || below(dep, module+"/cmd") {
				t.Errorf("%s must not depend on %s", p.ImportPath, dep)
			}
		}
	}
	if len(all) < len(forbidden) {
		t.Errorf("go list found %d packages only", len(all))
	}
}

func rejectImports(t *testing.T, p pkg, banned []string) {
	t.Helper()
	tests := slices.DeleteFunc(slices.Concat(p.TestImports, p.XTestImports), func(dep string) bool {
		judge, ok := judges[p.ImportPath]
		return ok && below(dep, judge)
	})
	for _, dep := range slices.Concat(p.Deps, tests) {
		for _, b := range banned {
			if below(dep, b) && exempt[p.ImportPath] != b {
				t.Errorf("%s must not depend on %s", p.ImportPath, dep)
			}
		}
	}
}

// The files of internal/server that begin with wire choose concrete stores; its others, and the command, work with interfaces.
func TestWiringNamesConcreteTypes(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != wiring && !below(p.ImportPath, module+"/cmd") {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				path := strings.Trim(imp.Path.Value, `"`)
				if (p.ImportPath != wiring || !strings.HasPrefix(name, "wire")) && (concrete(path) || below(path, badger)) {
					t.Errorf("%s/%s imports %s: only the wire files of internal/server may", p.ImportPath, name, path)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "base", "types"}
	for _, p := range packages(t) {
		if slices.Contains(vague, p.Name) {
			t.Errorf("%s: a package is named for what it holds, not %q", p.ImportPath, p.Name)
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
