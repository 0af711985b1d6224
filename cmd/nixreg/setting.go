package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "NIXREG_"

// setting is one that the environment and the configuration file have too. Its name is the flag's and the file's.
type setting struct {
	name  string
	kind  settingKind
	split func(string) []string // a list in an environment variable
}

type settingKind uint8

const (
	textKind settingKind = iota
	listKind
	numberKind
	toggleKind
)

func settings() []setting {
	return []setting{
		{name: "listen"},
		{name: "data"},
		{name: "images", kind: listKind, split: filepath.SplitList},
		{name: "store", kind: listKind, split: strings.Fields},
		{name: "trusted-public-key", kind: listKind, split: strings.Fields},
		{name: "netrc-file"},
		{name: "ca-file"},
		{name: "channel", kind: listKind, split: strings.Fields},
		{name: "channel-refresh"},
		{name: "nar-cache"},
		{name: "arch", kind: listKind, split: strings.Fields},
		{name: "build"},
		{name: "build-file"},
		{name: "build-timeout"},
		{name: "build-jobs", kind: numberKind},
		{name: "build-memory"},
		{name: "keep"},
		{name: "wait"},
		{name: "demo", kind: toggleKind},
		{name: "serve-as", kind: listKind, split: strings.Fields},
		{name: "layer-encoding"},
		{name: "root", kind: listKind, split: strings.Fields},
		{name: "blob-cache"},
		{name: "mirror", kind: listKind, split: strings.Fields},
		{name: "mirror-ttl"},
		{name: "mirror-cache"},
		{name: "mirror-listen", kind: listKind, split: strings.Fields},
		{name: "log-format"},
		{name: "log-level"},
	}
}

func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
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
	case s.kind == textKind && isText(n), s.kind == toggleKind && isScalar(n, "!!bool"), s.kind == numberKind && isScalar(n, "!!int"):
		return []string{n.Value}, nil
	case s.kind == listKind && n.Kind == yaml.SequenceNode:
		values := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if !isText(item) {
				return nil, lineError(file, item, s.name+": want a list of strings")
			}
			values = append(values, item.Value)
		}
		return values, nil
	}
	if s.kind == textKind && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return nil, lineError(file, n, fmt.Sprintf("%s: want a string: put it in quotes, %.100q", s.name, n.Value))
	}
	want := map[settingKind]string{textKind: "a string", listKind: "a list of strings", numberKind: "a number", toggleKind: "true or false"}
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
