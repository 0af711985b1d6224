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

// readConfigFile returns the values of the settings in a file, under their names. Its errors begin with file:line.
func readConfigFile(name string) (map[string][]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("config file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("config file: %w", err)
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("config file %s: larger than %d bytes", name, maxConfigFile)
	}
	return parseConfig(name, data)
}

// parseConfig is strict: a key that is unknown or comes twice, or a value of another type, is an error.
func parseConfig(name string, data []byte) (map[string][]string, error) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := dec.Decode(&doc); err == io.EOF {
		return nil, nil // nothing but comments
	} else if err != nil {
		return nil, yamlError(name, err)
	}
	if err := dec.Decode(&more); err == nil {
		return nil, lineError(name, &more, "a second document")
	} else if err != io.EOF {
		return nil, yamlError(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, lineError(name, root, "want keys and values")
	}
	values := make(map[string][]string)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := slices.IndexFunc(settings(), func(s setting) bool { return s.name == key.Value })
		if key.Kind != yaml.ScalarNode || at < 0 {
			return nil, lineError(name, key, fmt.Sprintf("unknown key %.100q", key.Value))
		}
		if _, again := values[key.Value]; again {
			return nil, lineError(name, key, fmt.Sprintf("key %q comes twice", key.Value))
		}
		v, err := settings()[at].fromYAML(name, value)
		if err != nil {
			return nil, err
		}
		values[key.Value] = v
	}
	return values, nil
}

// fromYAML returns the value of s in n, never nil.
func (s setting) fromYAML(file string, n *yaml.Node) ([]string, error) {
	switch {
	case s.kind == text && isText(n), s.kind == toggle && n.Kind == yaml.ScalarNode && n.Tag == "!!bool":
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
	want := map[settingKind]string{text: "a string", list: "a list of strings", toggle: "true or false"}
	return nil, lineError(file, n, s.name+": want "+want[s.kind])
}

func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!str" }

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
