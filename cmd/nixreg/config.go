package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/imagefile"
	programs "github.com/nixreg/nixreg/manifest/program"
)

// config is what the settings come to: flag over environment over file over default.
type config struct {
	listen    string
	wait      time.Duration
	data      string
	images    []string
	stores    []string // as URLs; none is "auto", or nothing with demo
	demo      bool
	serveAs   []string // image hosts
	encoding  string   // of layers
	root      []string // lists of parts
	blobCache string   // a size

	trustedKeys    []string // for every cache
	netrcFile      string   // for caches that name none
	caFile         string   // likewise
	channels       []string // names, NAME=URL, URLs or files
	channelRefresh string   // a duration
	narCache       string   // a size
	arch           []string // lists of architectures

	build        string // an installable
	buildFile    string // at most one of the two is set
	buildTimeout string // a duration
	buildJobs    int
	buildMemory  string // a size
	keep         string // a duration

	mirror       []string // NAME or NAME=URL
	mirrorTTL    string   // a duration
	mirrorCache  string   // a size
	mirrorListen []string // ADDR or NAME=ADDR

	rootParts       []imagefile.RootPart // what root comes to
	archs           []string             // what arch comes to
	refresh         time.Duration        // what channelRefresh comes to
	builds          buildBounds          // what build-… comes to
	keepFor         time.Duration        // what keep comes to
	mirrors         []mirrorConfig       // what mirror and the file's section come to
	mirrorListeners []mirrorListener     // what mirrorListen comes to

	file      string
	logFormat string
	logLevel  string

	lookupEnv func(string) (string, bool) // for what is set for other programs than this one
	cacheLog  *slog.Logger                // what there is to say of caches to whoever waits for a command; nil is the log
}

const (
	defaultListen = "localhost:5000"
	defaultWait   = 20 * time.Second // containerd 2.3 and newer wait for 30 s
	envPrefix     = "NIXREG_"
	minRefresh    = time.Minute // of channels, for the sake of whoever serves them
)

// fill gives the flags of cmd that the command line left alone their values from the environment, or else from the
// configuration file, and checks all of them. Settings that cmd has no flag for are passed over.
func (c *config) fill(cmd *cobra.Command, lookupEnv func(string) (string, bool)) error {
	if v, ok := lookupEnv(envPrefix + "CONFIG"); ok && c.file == "" {
		c.file = v
	}
	var file fileConfig
	if c.file != "" {
		var err error
		if file, err = readConfigFile(c.file); err != nil {
			return err
		}
	}
	origins := make(map[string]string)
	for _, s := range settings() {
		f := cmd.Flags().Lookup(s.name)
		if f == nil || f.Changed {
			continue
		}
		values, origin := file.values[s.name], fmt.Sprintf("%s:%d", c.file, file.lines[s.name])
		if v, ok := lookupEnv(s.env()); ok && v != "" {
			values, origin = []string{v}, s.env()
			if s.kind == list {
				values = s.split(v)
			}
		}
		if values == nil {
			continue
		}
		origins[s.name] = origin
		if assign(f.Value, values) != nil {
			return fmt.Errorf("%s: %w", origin, wrongType(f, values[0]))
		}
	}
	c.lookupEnv = lookupEnv
	c.mirrors = file.mirrors // for the base images of definitions, whatever the command
	return from(origins, c.checkAll(cmd))
}

// from puts the place where a setting was made in front of an error about it, whose first word is the setting's name.
// What the command line says needs none.
func from(origins map[string]string, err error) error {
	if err == nil {
		return nil
	}
	name := err.Error()
	if i := strings.IndexAny(name, " :"); i >= 0 {
		name = name[:i]
	}
	if origin, ok := origins[name]; ok {
		return fmt.Errorf("%s: %w", origin, err)
	}
	return err
}

func (c *config) checkAll(cmd *cobra.Command) error {
	if cmd.Flags().Lookup("mirror") != nil {
		if err := c.fillServer(); err != nil {
			return err
		}
	}
	if cmd.Flags().Lookup("store") == nil { // the command makes no images
		return nil
	}
	return c.check()
}

// fillServer reads what the settings of serve alone come to.
func (c *config) fillServer() (err error) {
	if err := checkAddress("listen", c.listen); err != nil {
		return err
	}
	if c.wait < time.Second || c.wait > time.Hour {
		return fmt.Errorf("wait %v: want a duration from 1s to 1h", c.wait)
	}
	for _, h := range c.serveAs {
		if !oci.IsHost(h) {
			return fmt.Errorf("serve-as %.100q: want a host as images have it, such as docker.io or registry.example.com:5000", h)
		}
	}
	for name, size := range map[string]string{"blob-cache": c.blobCache, "mirror-cache": c.mirrorCache, "nar-cache": c.narCache} {
		if _, err := humanize.ParseBytes(size); err != nil {
			return fmt.Errorf("%s %q: want a size, such as 500MB or 4GB", name, size)
		}
	}
	if c.refresh, err = time.ParseDuration(c.channelRefresh); err != nil || c.refresh < minRefresh {
		return fmt.Errorf("channel-refresh %.100q: want a duration, such as 30m or 12h, of a minute at least", c.channelRefresh)
	}
	if c.keepFor, err = atLeast("keep", c.keep, time.Second); err != nil {
		return err
	}
	if c.mirrors, err = joinMirrors(c.mirrors, c.mirror); err != nil {
		return err
	}
	for _, m := range c.mirrors {
		for _, h := range m.hosts() {
			if slices.Contains(c.serveAs, h) {
				return fmt.Errorf("serve-as %s: it is mirrored, too: one of the two has to answer for it", h)
			}
		}
	}
	ttl, err := parseTTL(c.mirrorTTL)
	if err != nil {
		return fmt.Errorf("mirror-%w", err)
	}
	for i := range c.mirrors {
		c.mirrors[i].ttl = cmp.Or(c.mirrors[i].ttl, ttl)
	}
	for _, s := range c.mirrorListen {
		l, err := parseMirrorListener(s, c.mirrors)
		if err != nil {
			return err
		}
		c.mirrorListeners = append(c.mirrorListeners, l)
	}
	return nil
}

func (c *config) check() error {
	if !slices.Contains([]string{"text", "json"}, c.logFormat) {
		return fmt.Errorf("log-format %q: want text or json", c.logFormat)
	}
	if _, ok := encodings[c.encoding]; !ok {
		return fmt.Errorf("layer-encoding %q: want tar, gzip or zstd", c.encoding)
	}
	var err error
	if c.rootParts, err = parseRoot(c.root); err != nil {
		return err
	}
	for name, file := range map[string]string{"netrc-file": c.netrcFile, "ca-file": c.caFile} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := parseKeys(c.trustedKeys); err != nil { // a fault, though no store be there that asks for keys
		return fmt.Errorf("trusted-public-key: %w", err)
	}
	if c.archs, err = parseArch(c.arch); err != nil {
		return err
	}
	if new(slog.Level).UnmarshalText([]byte(c.logLevel)) != nil {
		return fmt.Errorf("log-level %q: want debug, info, warn or error", c.logLevel)
	}
	return c.checkBuilds()
}

// parseRoot reads lists of parts of a root file system.
func parseRoot(lists []string) ([]imagefile.RootPart, error) {
	known := []imagefile.RootPart{imagefile.Passwd, imagefile.Tmp, imagefile.Certificates, imagefile.BinSh, imagefile.UsrBinEnv}
	var parts []imagefile.RootPart
	for _, list := range lists {
		for s := range strings.SplitSeq(list, ",") {
			part := imagefile.RootPart(strings.TrimSpace(s))
			if !slices.Contains(known, part) {
				return nil, fmt.Errorf("root %.100q: want some of passwd, tmp, certificates, binSh, usrBinEnv", s)
			}
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// parseArch reads lists of architectures.
func parseArch(lists []string) ([]string, error) {
	known := programs.Architectures()
	var archs []string
	for _, list := range lists {
		for s := range strings.SplitSeq(list, ",") {
			s = strings.TrimSpace(s)
			if !slices.Contains(known, s) {
				return nil, fmt.Errorf("arch %.100q: want some of %s", s, strings.Join(known, ", "))
			}
			archs = append(archs, s)
		}
	}
	return archs, nil
}

// dataDir is the directory that was asked for, or the default one.
func (c *config) dataDir() (string, error) {
	if c.data != "" {
		return c.data, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", errors.New("no cache directory for this user: give --data DIR")
	}
	return filepath.Join(cache, "nixreg"), nil
}

// logger writes to stderr as the settings say.
func (p *program) logger(c *config) *slog.Logger {
	var o slog.HandlerOptions
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err == nil {
		o.Level = level
	}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, &o))
	}
	return slog.New(slog.NewTextHandler(p.stderr, &o))
}
