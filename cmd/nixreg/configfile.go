package main

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

const maxConfigFile = 1 << 20 // bytes

// fileConfig is what a configuration file says.
type fileConfig struct {
	values  map[string][]string // of the settings, under their names
	lines   map[string]int      // where they are
	mirrors []mirrorConfig      // of its section mirrors
}

// readConfigFile reads a file. Its errors begin with file:line.
func readConfigFile(name string) (fileConfig, error) {
	f, err := os.Open(name)
	if err != nil {
		return fileConfig{}, fmt.Errorf("config file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return fileConfig{}, fmt.Errorf("config file: %w", err)
	}
	if len(data) > maxConfigFile {
		return fileConfig{}, fmt.Errorf("config file %s: larger than %d bytes", name, maxConfigFile)
	}
	return parseConfig(name, data)
}

// parseConfig is strict: a key that is unknown or comes twice, or a value of another type, is an error.
func parseConfig(name string, data []byte) (fileConfig, error) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := dec.Decode(&doc); err == io.EOF {
		return fileConfig{}, nil // nothing but comments
	} else if err != nil {
		return fileConfig{}, yamlError(name, err)
	}
	if err := dec.Decode(&more); err == nil {
		return fileConfig{}, lineError(name, &more, "a second document")
	} else if err != io.EOF {
		return fileConfig{}, yamlError(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return fileConfig{}, nil
	}
	c := fileConfig{values: make(map[string][]string), lines: make(map[string]int)}
	err := eachPair(name, root, func(key, value *yaml.Node) (err error) {
		if key.Value == mirrorsSection {
			c.mirrors, err = parseMirrors(name, value)
			return err
		}
		c.lines[key.Value] = value.Line
		c.values[key.Value], err = readSetting(name, settings(), key, value)
		return err
	})
	return c, err
}

// eachPair calls do with the keys and values of a mapping, in order.
func eachPair(file string, n *yaml.Node, do func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return lineError(file, n, "want keys and values")
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			return lineError(file, key, fmt.Sprintf("unknown key %.100q", key.Value))
		}
		if seen[key.Value] {
			return lineError(file, key, fmt.Sprintf("key %.100q comes twice", key.Value))
		}
		seen[key.Value] = true
		if err := do(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// readSetting returns the value of the one of known that key names.
func readSetting(file string, known []setting, key, value *yaml.Node) ([]string, error) {
	at := slices.IndexFunc(known, func(s setting) bool { return s.name == key.Value })
	if at < 0 {
		return nil, lineError(file, key, fmt.Sprintf("unknown key %.100q", key.Value))
	}
	return known[at].fromYAML(file, value)
}

// fromYAML returns the value of s in n, never nil.
func (s setting) fromYAML(file string, n *yaml.Node) ([]string, error) {
	switch {
	case s.kind == text && isText(n), s.kind == toggle && isScalar(n, "!!bool"), s.kind == number && isScalar(n, "!!int"):
		return []string{n.Value}, nil
	case s.kind == list && n.Kind == yaml.SequenceNode:
		values := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if !isText(item) {
				return nil, lineError(file, item, s.name+": want a list of strings")
			}
			values = append(values, item.Value)
		}
		return values, nil
	}
	if s.kind == text && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return nil, lineError(file, n, fmt.Sprintf("%s: want a string: put it in quotes, %.100q", s.name, n.Value))
	}
	want := map[settingKind]string{text: "a string", list: "a list of strings", number: "a number", toggle: "true or false"}
	return nil, lineError(file, n, s.name+": want "+want[s.kind])
}

func isText(n *yaml.Node) bool { return isScalar(n, "!!str") }

func isScalar(n *yaml.Node, tag string) bool { return n.Kind == yaml.ScalarNode && n.Tag == tag }

func lineError(file string, n *yaml.Node, msg string) error {
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
