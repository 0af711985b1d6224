package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/packages"
)

// mirrorsSection is the key of the configuration file that says more of mirrors than a flag can.
const mirrorsSection = "mirrors"

// mirrorConfig is one registry that is mirrored.
type mirrorConfig struct {
	name         string // as images are named, the first component of a path
	url          string // "" is https://name
	username     string
	passwordFile string
	skipVerify   bool
	ttl          time.Duration // 0 is that of all mirrors
	allow, deny  []string
}

// parseMirror reads NAME or NAME=URL.
func parseMirror(_, text string) (mirrorConfig, error) {
	name, url, _ := strings.Cut(text, "=")
	m := mirrorConfig{name: name, url: url}
	return m, m.check()
}

func (m mirrorConfig) check() error {
	if !oci.IsComponent(m.name) {
		return settingErrorf("mirror %.200q: want NAME or NAME=URL, where NAME can be part of an image's name: docker.io, lab=http://127.0.0.1:5001", m.name)
	}
	if packages.Reserved(m.name) {
		return settingErrorf("mirror %q: the name has another meaning: give it a different one, %s.example=URL", m.name, m.name)
	}
	if (m.username == "") != (m.passwordFile == "") {
		return settingErrorf("mirror %s: username and password-file belong together", m.name)
	}
	if m.url == "" {
		return nil
	}
	u, err := url.Parse(m.url)
	if err == nil && u.Port() != "" && !isPort(u.Port()) {
		return settingErrorf("mirror %s: %.200q: there is no port %s", m.name, m.url, u.Port())
	}
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return settingErrorf("mirror %s: %.200q: want http:// or https:// and a host, no more", m.name, m.url)
	}
	return nil
}

// hosts are what containerd calls the registry: by its name or by its address.
func (m mirrorConfig) hosts() []string {
	hosts := []string{m.name}
	if u, err := url.Parse(m.url); err == nil && u.Host != "" && u.Host != m.name {
		hosts = append(hosts, u.Host)
	}
	return hosts
}

func mirrorSettings() []setting {
	return []setting{
		{name: "url"},
		{name: "username"},
		{name: "password-file"},
		{name: "tls-verify", kind: toggle},
		{name: "ttl"},
		{name: "allow", kind: list},
		{name: "deny", kind: list},
	}
}

// parseMirrors reads the section of a configuration file: a mapping for each name, or nothing for one that needs none.
func parseMirrors(file string, section *yaml.Node) (all []mirrorConfig, err error) {
	err = eachPair(file, section, func(key, value *yaml.Node) error {
		m := mirrorConfig{name: key.Value}
		if !(value.Kind == yaml.ScalarNode && value.Tag == "!!null") {
			if err := m.read(file, value); err != nil {
				return err
			}
		}
		if err := m.check(); err != nil {
			return lineError(file, key, err.Error())
		}
		all = append(all, m)
		return nil
	})
	return all, err
}

func (m *mirrorConfig) read(file string, n *yaml.Node) error {
	return eachPair(file, n, func(key, value *yaml.Node) error {
		v, err := readSetting(file, mirrorSettings(), key, value)
		if err != nil {
			return err
		}
		switch key.Value {
		case "url":
			m.url = v[0]
		case "username":
			m.username = v[0]
		case "password-file":
			m.passwordFile = v[0]
		case "tls-verify":
			m.skipVerify = !isTrue(v[0])
		case "allow":
			if m.allow = v; len(v) == 0 {
				return lineError(file, value, "allow: nothing is allowed: leave the key out to allow all")
			}
		case "deny":
			m.deny = v
		case "ttl":
			if m.ttl, err = parseTTL("ttl", v[0]); err != nil {
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
func joinMirrors(file, flags []mirrorConfig) ([]mirrorConfig, error) {
	all := slices.Clone(file)
	named := make(map[string]bool)
	for _, m := range flags {
		if named[m.name] {
			return nil, fmt.Errorf("mirror %s is named twice", m.name)
		}
		named[m.name] = true
		switch i := slices.IndexFunc(all, func(f mirrorConfig) bool { return f.name == m.name }); {
		case i < 0:
			all = append(all, m)
		case m.url != "":
			all[i].url = m.url
		}
	}
	return all, distinct(all)
}

// distinct makes sure that what containerd calls a registry means one mirror.
func distinct(all []mirrorConfig) error {
	owner := make(map[string]string)
	for _, m := range all {
		for _, h := range m.hosts() {
			if o, taken := owner[h]; taken {
				return fmt.Errorf("mirrors %s and %s are both of %s", o, m.name, h)
			}
			owner[h] = m.name
		}
	}
	return nil
}

// mirrorListener is an address that serves one mirror alone.
type mirrorListener struct {
	mirror string // "" is the mirror of Docker Hub, or the only one there is
	addr   string
}

// parseMirrorListener reads NAME=ADDR or ADDR.
func parseMirrorListener(setting, text string) (l mirrorListener, err error) {
	mirror, addr, ok := strings.Cut(text, "=")
	if !ok {
		mirror, addr = "", text
	} else if mirror == "" {
		return l, settingErrorf("%s %q: there is no mirror %q", setting, text, mirror)
	}
	_, err = parseAddress(setting, addr)
	return mirrorListener{mirror, addr}, err
}

// find returns the name of the mirror that l is for.
func (l mirrorListener) find(mirrors []mirrorConfig) (string, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(mirrors, func(m mirrorConfig) bool { return m.name == name })
	}
	switch {
	case l.mirror != "" && !has(l.mirror):
		return "", fmt.Errorf("mirror-listen %q: there is no mirror %.100q", l.mirror+"="+l.addr, l.mirror)
	case l.mirror != "":
		return l.mirror, nil
	case has(oci.DockerHub):
		return oci.DockerHub, nil
	case len(mirrors) == 1:
		return mirrors[0].name, nil
	case len(mirrors) == 0:
		return "", errors.New("mirror-listen: there is no mirror: give --mirror docker.io, or another")
	}
	return "", fmt.Errorf("mirror-listen %q: which mirror is it for? give NAME=ADDR", l.addr)
}
