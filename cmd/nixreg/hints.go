package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixreg/nixreg/internal/setting"
	"github.com/nixreg/nixreg/internal/spell"
)

// otherCommands are what other programs call what a command of this one does.
var otherCommands = map[string]string{
	"push": "export", "save": "export", "copy": "export", "cp": "export", "ls": "list", "search": "list", "images": "list", "catalog": "list", "tags": "list",
	"run": "serve", "start": "serve", "server": "serve", "up": "serve", "daemon": "serve", "lint": "check", "validate": "check", "test": "check",
	"show": "inspect", "info": "inspect", "describe": "inspect", "manifest": "inspect", "bom": "sbom", "spdx": "sbom", "download": "pull", "fetch": "pull", "fsck": "verify", "repair": "verify",
}

// otherSettings are what other programs call a setting of this one.
var otherSettings = map[string]string{
	"port": "listen", "addr": "listen", "address": "listen", "bind": "listen", "host": "listen", "interface": "listen", "data-dir": "data", "datadir": "data", "dir": "data", "state": "data",
	"cache": "data", "cache-dir": "data", "image": "images", "definitions": "images", "public-key": "trusted-public-key", "key": "trusted-public-key",
	"trusted-key": "trusted-public-key", "substituter": "store", "substituters": "store", "from": "store", "nix-store": "store", "flake": "build", "platforms": "arch",
	"architectures": "arch", "compression": "layer-encoding", "compress": "layer-encoding", "encoding": "layer-encoding", "verbose": "log-level", "debug": "log-level",
	"quiet": "log-level", "loglevel": "log-level", "format": "log-format", "proxy": "mirror", "upstream": "mirror", "registry-mirror": "mirror",
	"ttl": "mirror-ttl", "config-file": "config", "conf": "config", "timeout": "wait", "insecure": "tls-verify", "tls": "tls-verify", "plain-http": "tls-verify", "src-tls-verify": "tls-verify",
}

// meantCommand is the command that a word which is none was meant to be; "" if none is near.
func meantCommand(root *cobra.Command, word string) string {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
		if len(word) > 2 && strings.HasPrefix(c.Name(), word) {
			return c.Name()
		}
	}
	return cmp.Or(otherCommands[strings.ToLower(word)], spell.Near(word, slices.Values(names)))
}

// meantSetting is the one of names that a setting which does not exist was meant to be; "" if none is near.
func meantSetting(name string, names iter.Seq[string]) string {
	other := otherSettings[strings.ReplaceAll(strings.ToLower(name), "_", "-")]
	for known := range names {
		if known == other {
			return other
		}
	}
	return spell.Near(name, names)
}

// unknownFlag adds to the error about a flag which does not exist the flag that was meant.
func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	names := func(yield func(string) bool) {
		all := true
		cmd.Flags().VisitAll(func(f *pflag.Flag) { all = all && yield(f.Name) })
	}
	if meant := meantSetting(err.GetSpecifiedName(), names); meant != "" && len(err.GetSpecifiedName()) > 1 {
		return fmt.Errorf("%w: did you mean --%s?", err, meant)
	}
	return err
}

// testVariables are read by the tests of nixreg alone.
var testVariables = []string{"CASES", "CLIENTS_TABLE", "CONTAINERD_REGISTRY", "DOCKER_CONFIG", "DOCKER_DIR", "E2E", "KUBELET", "NIX_CACHE", "POD", "SLOW", "WORK"}

// warnOfVariables warns of variables of the environment that look like settings and are none. Kubernetes makes some for a service
// called nixreg: those are left alone. No value is printed.
func warnOfVariables(w io.Writer, environ []string) {
	known := func(yield func(string) bool) {
		for _, s := range settings() {
			if !yield(s.Variable(envPrefix)) {
				return
			}
		}
		yield(envPrefix + "CONFIG")
	}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		short, own := strings.CutPrefix(name, envPrefix)
		switch {
		case !own || value == "" || slices.Contains(testVariables, short) || strings.HasPrefix(short, "MAKE_") || strings.HasPrefix(short, "TEST_"):
			continue
		case strings.HasPrefix(short, "SERVICE_") || strings.HasPrefix(short, "PORT_") || short == "PORT" && strings.Contains(value, "://"):
			continue // Kubernetes'
		case slices.Contains(slices.Collect(known), name):
			continue
		}
		meant := ""
		if other := otherSettings[strings.ReplaceAll(strings.ToLower(short), "_", "-")]; other != "" {
			meant = fmt.Sprintf(": did you mean %s?", setting.Setting{Name: other}.Variable(envPrefix))
		} else {
			meant = spell.DidYouMean(name, known)
		}
		fmt.Fprintf(w, "nixreg: warning: the variable %.100q is no setting of nixreg%s\n", name, meant)
	}
}

// inUse adds to the error about an address which another program has how to choose another one.
func inUse(err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	flag, rest, _ := strings.Cut(err.Error(), " ")
	addr, _, _ := strings.Cut(rest, ": ")
	host, port, failed := net.SplitHostPort(addr)
	n, failedToo := strconv.ParseUint(port, 10, 16)
	if failed != nil || failedToo != nil || n == 1<<16-1 {
		return err
	}
	return fmt.Errorf("%w: stop the program that uses it, or choose another address: --%s %s", err, flag, net.JoinHostPort(host, strconv.FormatUint(n+1, 10)))
}

// otherHosts are what people call the registries that they want to mirror.
var otherHosts = map[string]string{
	"docker": "docker.io", "dockerhub": "docker.io", "docker-hub": "docker.io", "docker_hub": "docker.io", "docker.com": "docker.io", "hub": "docker.io",
	"hub.docker.com": "docker.io", "index.docker.io": "docker.io", "registry-1.docker.io": "docker.io", "registry.hub.docker.com": "docker.io",
	"quay": "quay.io", "ghcr": "ghcr.io", "github": "ghcr.io", "gcr": "gcr.io", "k8s": "registry.k8s.io", "k8s.io": "registry.k8s.io",
	"kubernetes": "registry.k8s.io", "k8s.gcr.io": "registry.k8s.io", "mcr": "mcr.microsoft.com", "gitlab": "registry.gitlab.com", "gitlab.com": "registry.gitlab.com",
	"ecr": "public.ecr.aws", "redhat": "registry.access.redhat.com", "lscr": "lscr.io", "nvcr": "nvcr.io",
}
