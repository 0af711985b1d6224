package main

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/internal/setting"
)

// parseMirror reads NAME or NAME=URL.
func parseMirror(_, text string) (server.Mirror, error) {
	name, url, _ := strings.Cut(text, "=")
	m := server.Mirror{Name: name, URL: url}
	return m, checkMirror(m)
}

// checkMirror checks m, with an error of type setting.Error.
func checkMirror(m server.Mirror) error {
	if host := otherHosts[strings.ToLower(m.Name)]; host != "" && m.URL == "" {
		return setting.Errorf("mirror %.100q: did you mean %s? For another host, give its URL: %.100s=https://HOST", m.Name, host, m.Name)
	}
	if err := m.Check(); err != nil {
		return setting.Error(err.Error())
	}
	return nil
}

func mirrorSettings() []setting.Setting {
	return []setting.Setting{
		{Name: "url"},
		{Name: "username"},
		{Name: "password-file"},
		{Name: "tls-verify", Kind: setting.Toggle},
		{Name: "ttl"},
		{Name: "allow", Kind: setting.List},
		{Name: "deny", Kind: setting.List},
	}
}

// parseMirrors parses the section mirrors of the file: a mapping, or nothing, for each name.
func parseMirrors(file string, section *yaml.Node) (all []server.Mirror, err error) {
	err = setting.EachPair(file, section, func(key, value *yaml.Node) error {
		m := server.Mirror{Name: key.Value}
		if !(value.Kind == yaml.ScalarNode && value.Tag == "!!null") {
			if err := readMirror(&m, file, value); err != nil {
				return err
			}
		}
		if err := checkMirror(m); err != nil {
			return setting.LineError(file, key, err.Error())
		}
		all = append(all, m)
		return nil
	})
	return all, err
}

func readMirror(m *server.Mirror, file string, n *yaml.Node) error {
	return setting.EachPair(file, n, func(key, value *yaml.Node) error {
		v, err := setting.Read(file, mirrorSettings(), key, value)
		if err != nil {
			return err
		}
		switch key.Value {
		case "url":
			m.URL = v[0]
		case "username":
			m.Username = v[0]
		case "password-file":
			m.PasswordFile = v[0]
		case "tls-verify":
			m.SkipVerify = !isTrue(v[0])
		case "allow":
			if m.Allow = v; len(v) == 0 {
				return setting.LineError(file, value, "allow: nothing is allowed: leave the key out to allow all")
			}
		case "deny":
			m.Deny = v
		case "ttl":
			if m.TTL, err = parseTTL("ttl", v[0]); err != nil {
				return setting.LineError(file, value, err.Error())
			}
		}
		return nil
	})
}

func isTrue(yamlBool string) bool {
	var b bool
	return yaml.Unmarshal([]byte(yamlBool), &b) == nil && b
}

// parseMirrorListener reads NAME=ADDR or ADDR.
func parseMirrorListener(name, text string) (l server.MirrorListener, err error) {
	mirror, addr, ok := strings.Cut(text, "=")
	if !ok {
		mirror, addr = "", text
	} else if mirror == "" {
		return l, setting.Errorf("%s %q: there is no mirror %q", name, text, mirror)
	}
	_, err = setting.Address(name, addr)
	return server.MirrorListener{Mirror: mirror, Addr: addr}, err
}
