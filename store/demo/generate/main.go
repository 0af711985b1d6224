// Command generate writes the demo store: a binary cache in miniature, from the files of ../src and two programs.
//
//	generate -src src -print-greeting
//	generate -src src -hello x86_64-linux=FILE -hello aarch64-linux=FILE -out cache
//
// The first form prints the store path that the programs have to be compiled with.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixreg/nixreg/store"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	src := flag.String("src", "src", "folder of the text files")
	out := flag.String("out", "", "folder to write the cache to")
	show := flag.Bool("print-greeting", false, "print the store path of the greeting and stop")
	programs := make(map[string]string)
	flag.Func("hello", "SYSTEM=FILE: the program built for a system (repeatable)", func(s string) error {
		system, file, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("not of the form SYSTEM=FILE")
		}
		programs[system] = file
		return nil
	})
	flag.Parse()

	logo, greeting, err := shared(source(*src))
	switch {
	case err != nil:
		return err
	case *show:
		fmt.Println(greeting.path.Abs())
		return nil
	case *out == "" || len(programs) == 0:
		return errors.New("-out and -hello are needed")
	}
	objects := []*object{logo, greeting}
	for system, file := range programs {
		hello, err := hello(source(*src), system, file, greeting)
		if err != nil {
			return err
		}
		objects = append(objects, hello)
	}
	return writeCache(*out, objects)
}

// source is the folder of the text files.
type source string

func (s source) read(name string, replace ...string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(s), name))
	if err != nil {
		return nil, err
	}
	return []byte(strings.NewReplacer(replace...).Replace(string(b))), nil
}

// shared makes the two paths that are the same for every system.
func shared(src source) (logo, greeting *object, err error) {
	picture, err := src.read("logo.txt")
	if err != nil {
		return nil, nil, err
	}
	logo, err = newObject("nixreg-logo-1.0", "any", func(string) *file {
		return folder("share", folder("logo.txt", plain(picture)))
	})
	if err != nil {
		return nil, nil, err
	}
	text, err := src.read("greeting.txt")
	if err != nil {
		return nil, nil, err
	}
	greeting, err = newObject("greeting-1.0", "any", func(string) *file {
		return folder("share", folder("greeting.txt", plain(text), "logo.txt", link(logo.path.Abs()+"/share/logo.txt")))
	}, logo.path)
	return logo, greeting, err
}

func hello(src source, system, program string, greeting *object) (*object, error) {
	elf, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(elf), greeting.path.Abs()) {
		return nil, fmt.Errorf("%s: does not mention %s", program, greeting.path.Abs())
	}
	readme, err := src.read("README", "@greeting@", greeting.path.Abs())
	if err != nil {
		return nil, err
	}
	manual, err := src.read("hello.1", "@greeting@", greeting.path.Abs())
	if err != nil {
		return nil, err
	}
	tree := func(self string) *file {
		page := strings.ReplaceAll(string(manual), "@out@", self)
		return folder(
			"bin", folder("hello", executable(elf)),
			"share", folder(
				"doc", folder("hello", folder("README", plain(readme))),
				"man", folder("man1", folder("hello.1", plain([]byte(page)))),
			),
		)
	}
	o, err := newObject("hello-1.0", system, tree, greeting.path)
	if err != nil {
		return nil, err
	}
	o.references = append(o.references, o.path)
	return o, nil
}

// object is one store path of the cache.
type object struct {
	path, deriver store.Path
	references    []store.Path
	nar           []byte
}

// newObject names the path by its content: the tree is made once with a stand-in for its own path to find the hash
// part, so a path never stands for two contents, whatever compiler made them.
func newObject(name, system string, tree func(self string) *file, references ...store.Path) (*object, error) {
	draft := tree(store.Dir + "/" + strings.Repeat("0", store.HashLen) + "-" + name).nar()
	p, err := storePath(name, system, draft)
	if err != nil {
		return nil, err
	}
	deriver, err := storePath(name+".drv", system, draft)
	if err != nil {
		return nil, err
	}
	return &object{path: p, deriver: deriver, references: references, nar: tree(p.Abs()).nar()}, nil
}

func storePath(name, system string, nar []byte) (store.Path, error) {
	h := sha256.Sum256(fmt.Appendf(nil, "nixreg-demo:%s:%s:%x", system, name, sha256.Sum256(nar)))
	return store.ParsePath(store.EncodeBase32(h[:20]) + "-" + name)
}
