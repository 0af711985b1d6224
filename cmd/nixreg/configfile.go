package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/nixreg/nixreg/internal/server"
)

const maxConfigFile = 1 << 20 // bytes

// fileConfig is what a configuration file says.
type fileConfig struct {
	values  map[string][]string // of the settings, under their names
	lines   map[string]int      // where they are
	mirrors []server.Mirror     // of its section mirrors
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
