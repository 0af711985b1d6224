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

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"nixreg/manifest/imagefile"
)

// config is what the settings come to: flag over environment over file over default.
type config struct {
	listen    string
	data      string
	images    []string
	stores    []string // as URLs; none is "auto", or nothing with demo
	demo      bool
	serveAs   []string // image hosts
	encoding  string   // of layers
	root      []string // lists of parts
	blobCache string   // a size

	mirror       []string // NAME or NAME=URL
	mirrorTTL    string   // a duration
	mirrorCache  string   // a size
	mirrorListen []string // ADDR or NAME=ADDR

	rootParts       []imagefile.RootPart // what root comes to
	mirrors         []mirrorConfig       // what mirror and the file's section come to
	mirrorListeners []mirrorListener     // what mirrorListen comes to

	file      string
	logFormat string
	logLevel  string
}

const (
	defaultListen = "localhost:5000"
	autoStore     = "auto"
	envPrefix     = "NIXREG_"
)

// setting is one that the environment and the configuration file have too. Its name is the flag's and the file's.
type setting struct {
	name  string
	kind  settingKind
	split func(string) []string // a list in an environment variable
}

type settingKind uint8

const (
	text settingKind = iota
	list
	toggle
)

func settings() []setting {
	return []setting{
		{name: "listen"},
		{name: "data"},
		{name: "images", kind: list, split: filepath.SplitList},
		{name: "store", kind: list, split: strings.Fields},
		{name: "demo", kind: toggle},
		{name: "serve-as", kind: list, split: strings.Fields},
		{name: "layer-encoding"},
		{name: "root", kind: list, split: strings.Fields},
		{name: "blob-cache"},
		{name: "mirror", kind: list, split: strings.Fields},
		{name: "mirror-ttl"},
		{name: "mirror-cache"},
		{name: "mirror-listen", kind: list, split: strings.Fields},
		{name: "log-format"},
		{name: "log-level"},
	}
}

func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// sourceFlags are those of every command that makes images; logLevel is the default one.
func (c *config) sourceFlags(cmd *cobra.Command, logLevel string) {
	f := cmd.Flags()
	f.StringArrayVar(&c.stores, "store", nil, "where images come from, a `URL`: auto, local or local?root=DIR; may be repeated (default auto)")
	f.StringArrayVar(&c.images, "images", nil, "image descriptions, a `path` of a directory or file; may be repeated")
	f.BoolVar(&c.demo, "demo", false, "serve the built-in store, in place of auto")
	f.StringVar(&c.encoding, "layer-encoding", "tar", "how layers are compressed: tar (not at all), gzip or zstd; each has digests of its own")
	f.StringArrayVar(&c.root, "root", nil, "what images by package name get in their root: `parts` out of passwd, tmp, certificates, binSh, usrBinEnv, separated by commas")
	f.StringVar(&c.file, "config", "", "YAML `file` with the same keys as these flags")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	f.StringVar(&c.logLevel, "log-level", logLevel, "debug, info, warn or error")
}

// serverFlags are those of serve alone.
func (c *config) serverFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", defaultListen, "`address` to serve on, HOST:PORT; port 0 takes any free one")
	f.StringArrayVar(&c.serveAs, "serve-as", nil, "image `host` to answer for as a mirror (containerd's ?ns=); may be repeated")
	f.StringVar(&c.blobCache, "blob-cache", "4GB", "`size` of the directory that keeps compressed layers; 0 makes them anew for each request")
	f.StringArrayVar(&c.mirror, "mirror", nil, "registry to mirror, a `NAME` as images have it, or NAME=URL: docker.io, lab=http://127.0.0.1:5001; may be repeated")
	f.StringVar(&c.mirrorTTL, "mirror-ttl", "5m", "for how `long` the meaning of a mirrored tag is believed")
	f.StringVar(&c.mirrorCache, "mirror-cache", "10GB", "`size` of the directory that keeps what was mirrored")
	f.StringArrayVar(&c.mirrorListen, "mirror-listen", nil, "`address` that serves one mirror alone, for Docker's registry-mirrors: HOST:PORT or NAME=HOST:PORT; may be repeated")
	f.StringVar(&c.data, "data", "", "`directory` of what is remembered between runs (default nixreg in the user's cache directory)")
}

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
	for _, s := range settings() {
		f := cmd.Flags().Lookup(s.name)
		if f == nil || f.Changed {
			continue
		}
		values, origin := file.values[s.name], c.file
		if v, ok := lookupEnv(s.env()); ok && v != "" {
			values, origin = []string{v}, s.env()
			if s.kind == list {
				values = s.split(v)
			}
		}
		if values == nil {
			continue
		}
		if err := assign(f.Value, values); err != nil {
			return fmt.Errorf("%s: %s: %w", origin, s.name, err)
		}
	}
	c.mirrors = file.mirrors // for the base images of definitions, whatever the command
	if cmd.Flags().Lookup("mirror") != nil {
		if err := c.fillServer(); err != nil {
			return err
		}
	}
	return c.check()
}

// fillServer reads what the settings of serve alone come to.
func (c *config) fillServer() (err error) {
	for name, size := range map[string]string{"blob-cache": c.blobCache, "mirror-cache": c.mirrorCache} {
		if _, err := humanize.ParseBytes(size); err != nil {
			return fmt.Errorf("%s %q: want a size, such as 500MB or 4GB", name, size)
		}
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

// assign sets a flag's value, whole lists at once.
func assign(v interface{ Set(string) error }, values []string) error {
	if l, ok := v.(interface{ Replace([]string) error }); ok {
		return l.Replace(values)
	}
	return v.Set(values[0])
}

func (c *config) check() error {
	if c.listen != "" {
		if err := checkAddress("listen", c.listen); err != nil {
			return err
		}
	}
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
	if new(slog.Level).UnmarshalText([]byte(c.logLevel)) != nil {
		return fmt.Errorf("log-level %q: want debug, info, warn or error", c.logLevel)
	}
	return nil
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
