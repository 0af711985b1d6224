package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/server"
)

// mirrorsSection is the key of the configuration file that says more of mirrors than a flag can.
const mirrorsSection = "mirrors"

// parseMirror reads NAME or NAME=URL.
func parseMirror(_, text string) (server.Mirror, error) {
	name, url, _ := strings.Cut(text, "=")
	m := server.Mirror{Name: name, URL: url}
	return m, checkMirror(m)
}

// checkMirror gives the error of a mirror the type of those of settings.
func checkMirror(m server.Mirror) error {
	if err := m.Check(); err != nil {
		return settingError(err.Error())
	}
	return nil
}

func mirrorSettings() []setting {
	return []setting{
		{name: "url"},
		{name: "username"},
		{name: "password-file"},
		{name: "tls-verify", kind: toggleKind},
		{name: "ttl"},
		{name: "allow", kind: listKind},
		{name: "deny", kind: listKind},
	}
}

// parseMirrors reads the section of a configuration file: a mapping for each name, or nothing for one that needs none.
func parseMirrors(file string, section *yaml.Node) (all []server.Mirror, err error) {
	err = eachPair(file, section, func(key, value *yaml.Node) error {
		m := server.Mirror{Name: key.Value}
		if !(value.Kind == yaml.ScalarNode && value.Tag == "!!null") {
			if err := readMirror(&m, file, value); err != nil {
				return err
			}
		}
		if err := checkMirror(m); err != nil {
			return lineError(file, key, err.Error())
		}
		all = append(all, m)
		return nil
	})
	return all, err
}

func readMirror(m *server.Mirror, file string, n *yaml.Node) error {
	return eachPair(file, n, func(key, value *yaml.Node) error {
		v, err := readSetting(file, mirrorSettings(), key, value)
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
				return lineError(file, value, "allow: nothing is allowed: leave the key out to allow all")
			}
		case "deny":
			m.Deny = v
		case "ttl":
			if m.TTL, err = parseTTL("ttl", v[0]); err != nil {
				return lineError(file, value, err.Error())
			}
		}
		return nil
	})
}

func isTrue(yamlBool string) bool {
	var b bool
	return yaml.Unmarshal([]byte(yamlBool), &b) == nil && b
}

// joinMirrors puts what flags name beside what the file describes. A flag with a URL changes that of the file alone.
func joinMirrors(file, flags []server.Mirror) ([]server.Mirror, error) {
	all := slices.Clone(file)
	named := make(map[string]bool)
	for _, m := range flags {
		if named[m.Name] {
			return nil, fmt.Errorf("mirror %s is named twice", m.Name)
		}
		named[m.Name] = true
		switch i := slices.IndexFunc(all, func(f server.Mirror) bool { return f.Name == m.Name }); {
		case i < 0:
			all = append(all, m)
		case m.URL != "":
			all[i].URL = m.URL
		}
	}
	return all, distinct(all)
}

// distinct makes sure that what containerd calls a registry means one mirror.
func distinct(all []server.Mirror) error {
	owner := make(map[string]string)
	for _, m := range all {
		for _, h := range m.Hosts() {
			if o, taken := owner[h]; taken {
				return fmt.Errorf("mirrors %s and %s are both of %s", o, m.Name, h)
			}
			owner[h] = m.Name
		}
	}
	return nil
}

// parseMirrorListener reads NAME=ADDR or ADDR.
func parseMirrorListener(setting, text string) (l server.MirrorListener, err error) {
	mirror, addr, ok := strings.Cut(text, "=")
	if !ok {
		mirror, addr = "", text
	} else if mirror == "" {
		return l, settingErrorf("%s %q: there is no mirror %q", setting, text, mirror)
	}
	_, err = parseAddress(setting, addr)
	return server.MirrorListener{Mirror: mirror, Addr: addr}, err
}

// mirrorOf returns the name of the mirror that an address is for: without one it is that of Docker Hub, or the only one.
func mirrorOf(l server.MirrorListener, mirrors []server.Mirror) (string, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(mirrors, func(m server.Mirror) bool { return m.Name == name })
	}
	switch {
	case l.Mirror != "" && !has(l.Mirror):
		return "", fmt.Errorf("mirror-listen %q: there is no mirror %.100q", l.Mirror+"="+l.Addr, l.Mirror)
	case l.Mirror != "":
		return l.Mirror, nil
	case has(oci.DockerHub):
		return oci.DockerHub, nil
	case len(mirrors) == 1:
		return mirrors[0].Name, nil
	case len(mirrors) == 0:
		return "", errors.New("mirror-listen: there is no mirror: give --mirror docker.io, or another")
	}
	return "", fmt.Errorf("mirror-listen %q: which mirror is it for? give NAME=ADDR", l.Addr)
}
