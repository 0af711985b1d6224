package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// casesPackage is the import path of the list.
const casesPackage = "github.com/nixreg/nixreg/internal/cases"

// caseTest is a test that opens a case.
type caseTest struct {
	id       string // of the case
	pkg, run string // import path of the package, name of the test function
}

// find returns the tests below root, the directory of the module, that open a case, in the order of their files. A call
// that does not name its case by a literal, or is not the first statement of a test, is an error: the table would miss it.
func find(root string) ([]caseTest, error) {
	var all []caseTest
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != root) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		tests, err := findIn(name, path.Join("github.com/nixreg/nixreg", filepath.ToSlash(dir)))
		all = append(all, tests...)
		return err
	})
	return all, err
}

// findIn returns the tests of one file.
func findIn(name, pkg string) ([]caseTest, error) {
	src, err := os.ReadFile(name)
	if err != nil || !bytes.Contains(src, []byte(casesPackage)) {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var all []caseTest
	opened := make(map[*ast.CallExpr]bool)
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil || len(f.Body.List) == 0 || !strings.HasPrefix(f.Name.Name, "Test") {
			continue
		}
		if s, ok := f.Body.List[0].(*ast.ExprStmt); ok {
			if call, id := opens(s.X); id != "" {
				opened[call] = true
				all = append(all, caseTest{id, pkg, f.Name.Name})
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && err == nil {
			if call, _ := opens(e); call != nil && !opened[call] {
				err = fmt.Errorf("%s: cases.Open: want the first statement of a test, and the case's name as a literal", set.Position(e.Pos()))
			}
		}
		return err == nil
	})
	return all, err
}

// opens returns the call of cases.Open that e is, nil if it is another expression, and the case that it names.
func opens(e ast.Expr) (call *ast.CallExpr, id string) {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return nil, ""
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Open" {
		return nil, ""
	}
	if x, ok := f.X.(*ast.Ident); !ok || x.Name != "cases" {
		return nil, ""
	}
	if len(call.Args) == 2 {
		if lit, ok := call.Args[1].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			id, _ = strconv.Unquote(lit.Value)
		}
	}
	return call, id
}
