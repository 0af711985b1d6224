package setting

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFile is how many bytes a file may have.
const MaxFile = 1 << 20

// File is what a configuration file has.
type File struct {
	Name   string
	Values map[string][]string // of the settings, by name
	lines  map[string]int
}

// ReadFile reads a file; see [Parse].
func ReadFile(name string, known []Setting, sections map[string]Section) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return File{}, fmt.Errorf("config file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("config file: %w", err)
	}
	if len(data) > MaxFile {
		return File{}, fmt.Errorf("config file %s: larger than %d bytes", name, MaxFile)
	}
	return Parse(name, data, known, sections)
}

// Section reads a key of the file that is no setting. Its errors begin with file:line.
type Section func(file string, value *yaml.Node) error

// Parse reads the text of a file. It is strict: an unknown key, one that comes twice, or a value of another type is an error. Its
// errors begin with file:line.
func Parse(name string, data []byte, known []Setting, sections map[string]Section) (File, error) {
	c := File{Name: name, Values: make(map[string][]string), lines: make(map[string]int)}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := dec.Decode(&doc); err == io.EOF {
		return c, nil // nothing but comments
	} else if err != nil {
		return File{}, yamlError(name, err)
	}
	if err := dec.Decode(&more); err == nil {
		return File{}, LineError(name, &more, "a second document")
	} else if err != io.EOF {
		return File{}, yamlError(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return c, nil
	}
	err := EachPair(name, root, func(key, value *yaml.Node) (err error) {
		if read, ok := sections[key.Value]; ok {
			return read(name, value)
		}
		c.lines[key.Value] = value.Line
		c.Values[key.Value], err = Read(name, known, key, value)
		return err
	})
	return c, err
}

// EachPair calls do with the keys and values of a mapping, in order.
func EachPair(file string, n *yaml.Node, do func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return LineError(file, n, "want keys and values")
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			return LineError(file, key, fmt.Sprintf("unknown key %.100q", key.Value))
		}
		if seen[key.Value] {
			return LineError(file, key, fmt.Sprintf("key %.100q comes twice", key.Value))
		}
		seen[key.Value] = true
		if err := do(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// Read returns the value of the one of known that key names.
func Read(file string, known []Setting, key, value *yaml.Node) ([]string, error) {
	at := slices.IndexFunc(known, func(s Setting) bool { return s.Name == key.Value })
	if at < 0 {
		text := fmt.Sprintf("unknown key %.100q", key.Value)
		if meant := Meant(key.Value, known); meant != "" {
			text += ": did you mean " + meant + "?"
		}
		return nil, LineError(file, key, text)
	}
	return known[at].fromYAML(file, value)
}

// fromYAML returns the value of s in n, never nil.
func (s Setting) fromYAML(file string, n *yaml.Node) ([]string, error) {
	switch {
	case s.Kind == Text && isText(n), s.Kind == Toggle && isScalar(n, "!!bool"), s.Kind == Number && isScalar(n, "!!int"):
		return []string{n.Value}, nil
	case s.Kind == List && n.Kind == yaml.SequenceNode:
		values := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if !isText(item) {
				return nil, LineError(file, item, s.Name+": want a list of strings")
			}
			values = append(values, item.Value)
		}
		return values, nil
	}
	if s.Kind == Text && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return nil, LineError(file, n, fmt.Sprintf("%s: want a string: put it in quotes, %.100q", s.Name, n.Value))
	}
	want := map[Kind]string{Text: "a string", List: "a list of strings", Number: "a number", Toggle: "true or false"}
	return nil, LineError(file, n, s.Name+": want "+want[s.Kind])
}

func isText(n *yaml.Node) bool { return isScalar(n, "!!str") }

func isScalar(n *yaml.Node, tag string) bool { return n.Kind == yaml.ScalarNode && n.Tag == tag }

// LineError is about a line of the file.
func LineError(file string, n *yaml.Node, msg string) error {
	return fmt.Errorf("%s:%d: %s", file, n.Line, msg)
}

// yamlError puts the line of the parser's message where all others have it.
func yamlError(file string, err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if in, ok := strings.CutPrefix(msg, "line "); ok {
		line, rest, _ := strings.Cut(in, ": ")
		if n, err := strconv.Atoi(line); err == nil {
			return fmt.Errorf("%s:%d: %s", file, n, rest)
		}
	}
	return errors.New(file + ": " + msg)
}
