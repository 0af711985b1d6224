package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
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
	number
	toggle
)

func settings() []setting {
	return []setting{
		{name: "listen"},
		{name: "data"},
		{name: "images", kind: list, split: filepath.SplitList},
		{name: "store", kind: list, split: strings.Fields},
		{name: "trusted-public-key", kind: list, split: strings.Fields},
		{name: "netrc-file"},
		{name: "ca-file"},
		{name: "channel", kind: list, split: strings.Fields},
		{name: "channel-refresh"},
		{name: "nar-cache"},
		{name: "arch", kind: list, split: strings.Fields},
		{name: "build"},
		{name: "build-file"},
		{name: "build-timeout"},
		{name: "build-jobs", kind: number},
		{name: "build-memory"},
		{name: "keep"},
		{name: "wait"},
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

// sourceFlags are those of every command that makes images; logLevel is the default one. What stands between backquotes is
// the word for a value, the same as in docs/running.md.
func (c *config) sourceFlags(cmd *cobra.Command, logLevel string) {
	f := cmd.Flags()
	f.StringArrayVar(&c.stores, "store", nil, "where images come from, a `URL`: auto, local, local?root=DIR, https://HOST, s3://BUCKET, file:///DIR or nix-conf; may be repeated (default auto)")
	f.StringArrayVar(&c.trustedKeys, "trusted-public-key", nil, "`KEY` whose signatures are trusted in every cache, NAME:BASE64; may be repeated")
	f.StringVar(&c.netrcFile, "netrc-file", "", "`FILE` with the passwords of caches that name none themselves")
	f.StringVar(&c.caFile, "ca-file", "", "`FILE` with certificate authorities to trust beside the system's, for caches that name none themselves")
	f.StringArrayVar(&c.channels, "channel", nil, "names of packages without Nix, the `NAME` of a channel, NAME=URL, a URL or a directory: nixos-unstable; may be repeated")
	f.StringArrayVar(&c.arch, "arch", nil, "architectures that images by package name are made for, a `LIST` with commas: amd64,arm64 (default all)")
	f.StringVar(&c.build, "build", "", "build what no store has from a flake, an `INSTALLABLE`: nixpkgs, github:OWNER/REPO/REF, ./DIR")
	f.StringVar(&c.buildFile, "build-file", "", "the same from a Nix `FILE`")
	f.StringVar(&c.buildTimeout, "build-timeout", "30m", "`TIME` that one build may take")
	f.IntVar(&c.buildJobs, "build-jobs", 2, "builds at once, a number `N`")
	f.StringVar(&c.buildMemory, "build-memory", "4GB", "`SIZE` of the heap that one evaluation may have; what builders take is Nix's to bound")
	f.StringArrayVar(&c.images, "images", nil, "definitions of images, and finished images, a directory or a file: `DIR|FILE`; may be repeated")
	f.BoolVar(&c.demo, "demo", false, "serve the built-in store, in place of auto")
	f.StringVar(&c.encoding, "layer-encoding", "tar", "how layers are compressed, the `NAME` of an encoding: tar (not at all), gzip or zstd; each has digests of its own")
	f.StringArrayVar(&c.root, "root", nil, "what images by package name get in their root, `PARTS` with commas: passwd, tmp, certificates, binSh, usrBinEnv")
	c.fileFlag(cmd)
	f.StringVar(&c.logFormat, "log-format", "text", "form of the log, `text|json`")
	f.StringVar(&c.logLevel, "log-level", logLevel, "`LEVEL` of the log: debug, info, warn or error")
}

// serverFlags are those of serve alone.
func (c *config) serverFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", defaultListen, "where to serve, `HOST:PORT`; port 0 takes any free one")
	f.DurationVar(&c.wait, "wait", defaultWait, "`TIME` that a client waits for an answer before it is asked to come again, by a redirect")
	f.StringArrayVar(&c.serveAs, "serve-as", nil, "image `HOST` to answer for as a mirror (containerd's ?ns=); may be repeated")
	f.StringVar(&c.blobCache, "blob-cache", "4GB", "`SIZE` of the directory that keeps compressed layers; 0 makes them anew for each request")
	f.StringVar(&c.narCache, "nar-cache", "10GB", "`SIZE` of the directory that keeps what caches sent")
	f.StringVar(&c.keep, "keep", "168h", "`TIME` after its last pull that an image is kept from Nix's garbage collector")
	f.StringVar(&c.channelRefresh, "channel-refresh", "1h", "`TIME` after which channels are asked for something new")
	f.StringArrayVar(&c.mirror, "mirror", nil, "registry to mirror, a name as images have it, or with a URL, `NAME[=URL]`: docker.io, lab=http://127.0.0.1:5001; may be repeated")
	f.StringVar(&c.mirrorTTL, "mirror-ttl", "5m", "`TIME` that the meaning of a mirrored tag is believed")
	f.StringVar(&c.mirrorCache, "mirror-cache", "10GB", "`SIZE` of the directory that keeps what was mirrored")
	f.StringArrayVar(&c.mirrorListen, "mirror-listen", nil, "address that serves one mirror alone, `[NAME=]HOST:PORT`, for Docker's registry-mirrors; may be repeated")
	c.dataFlag(cmd)
}

func (c *config) dataFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.data, "data", "", "`DIR` of what is remembered between runs (default nixreg in the user's cache directory)")
}

func (c *config) fileFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.file, "config", "", "YAML `FILE` with the same keys as these flags")
}

// assign sets a flag's value, whole lists at once.
func assign(v interface{ Set(string) error }, values []string) error {
	if l, ok := v.(interface{ Replace([]string) error }); ok {
		return l.Replace(values)
	}
	return v.Set(values[0])
}
