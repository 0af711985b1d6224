package main

import (
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	programs "github.com/nixreg/nixreg/manifest/program"
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

// encodings are the values of --layer-encoding. A better compressor will be another name beside them.
var encodings = map[string]layer.Encoding{"tar": layer.Tar, "gzip": layer.Gzip, "zstd": layer.Zstd}

var rootParts = []imagefile.RootPart{imagefile.Passwd, imagefile.Tmp, imagefile.Certificates, imagefile.BinSh, imagefile.UsrBinEnv}

// parseTTL parses a time for which tags are believed.
var parseTTL = timeFrom(1, "30s, 5m or 12h")

func parseHost(name, text string) (string, error) {
	if !oci.IsHost(text) {
		return "", settingErrorf("%s %.100q: want a host as images have it, such as docker.io or registry.example.com:5000", name, text)
	}
	return text, nil
}

// sourceFlags are those of every command that makes images; logLevel is the default one. What stands between backquotes is
// the word for a value, the same as in docs/running.md.
func (c *config) sourceFlags(cmd *cobra.Command, logLevel string) {
	f := cmd.Flags()
	f.StringArrayVar(&c.stores, "store", nil, "where images come from, a `URL`: auto, local, local?root=DIR, https://HOST, s3://BUCKET, file:///DIR or nix-conf; may be repeated (default auto)")
	addValues(f, &c.trustedKeys, "trusted-public-key", "`KEY` whose signatures are trusted in every cache, NAME:BASE64; may be repeated", each(parseKey))
	f.StringVar(&c.netrcFile, "netrc-file", "", "`FILE` with the passwords of caches that name none themselves")
	f.StringVar(&c.caFile, "ca-file", "", "`FILE` with certificate authorities to trust beside the system's, for caches that name none themselves")
	f.StringArrayVar(&c.channels, "channel", nil, "names of packages without Nix, the `NAME` of a channel, NAME=URL, a URL or a directory: nixos-unstable; may be repeated")
	addValues(f, &c.archs, "arch", "architectures that images by package name are made for, a `LIST` with commas: amd64,arm64 (default all)", someOf(programs.Architectures()...))
	f.StringVar(&c.build, "build", "", "build what no store has from a flake, an `INSTALLABLE`: nixpkgs, github:OWNER/REPO/REF, ./DIR")
	f.StringVar(&c.buildFile, "build-file", "", "the same from a Nix `FILE`")
	addValue(f, &c.buildTimeout, "build-timeout", "30m", "`TIME` that one build may take", timeFrom(time.Second, "30m or 12h, of 1s at least"))
	f.IntVar(&c.buildJobs, "build-jobs", 2, "builds at once, a number `N`")
	addValue(f, &c.buildMemory, "build-memory", "4GB", "`SIZE` of the heap that one evaluation may have; what builders take is Nix's to bound", sizeFrom(1<<20, 1<<50))
	f.StringArrayVar(&c.images, "images", nil, "definitions of images, and finished images, a directory or a file: `DIR|FILE`; may be repeated")
	f.BoolVar(&c.demo, "demo", false, "serve the built-in store, in place of auto")
	addValue(f, &c.encoding, "layer-encoding", "tar", "how layers are compressed, the `NAME` of an encoding: tar (not at all), gzip or zstd; each has digests of its own", oneOf("tar, gzip or zstd", encodings))
	addValues(f, &c.root, "root", "what images by package name get in their root, `PARTS` with commas: passwd, tmp, certificates, binSh, usrBinEnv", someOf(rootParts...))
	c.fileFlag(cmd)
	addValue(f, &c.logJSON, "log-format", "text", "form of the log, `text|json`", oneOf("text or json", map[string]bool{"text": false, "json": true}))
	addValue(f, &c.logLevel, "log-level", logLevel, "`LEVEL` of the log: debug, info, warn or error", parseLevel)
}

// serverFlags are those of serve alone.
func (c *config) serverFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	addValue(f, &c.listen, "listen", defaultListen, "where to serve, `HOST:PORT`; port 0 takes any free one", parseAddress)
	f.DurationVar(&c.wait, "wait", defaultWait, "`TIME` that a client waits for an answer before it is asked to come again, by a redirect")
	addValues(f, &c.serveAs, "serve-as", "image `HOST` to answer for as a mirror (containerd's ?ns=); may be repeated", each(parseHost))
	addValue(f, &c.blobCache, "blob-cache", "4GB", "`SIZE` of the directory that keeps compressed layers; 0 makes them anew for each request", sizeFrom(0, math.MaxUint64))
	addValue(f, &c.narCache, "nar-cache", "10GB", "`SIZE` of the directory that keeps what caches sent", sizeFrom(0, math.MaxUint64))
	addValue(f, &c.keep, "keep", "168h", "`TIME` after its last pull that an image is kept from Nix's garbage collector", timeFrom(time.Second, "30m or 12h, of 1s at least"))
	addValue(f, &c.channelRefresh, "channel-refresh", "1h", "`TIME` after which channels are asked for something new", timeFrom(time.Minute, "30m or 12h, of a minute at least"))
	addValues(f, &c.mirror, "mirror", "registry to mirror, a name as images have it, or with a URL, `NAME[=URL]`: docker.io, lab=http://127.0.0.1:5001; may be repeated", each(parseMirror))
	addValue(f, &c.mirrorTTL, "mirror-ttl", "5m", "`TIME` that the meaning of a mirrored tag is believed", parseTTL)
	addValue(f, &c.mirrorCache, "mirror-cache", "10GB", "`SIZE` of the directory that keeps what was mirrored", sizeFrom(0, math.MaxUint64))
	addValues(f, &c.mirrorListen, "mirror-listen", "address that serves one mirror alone, `[NAME=]HOST:PORT`, for Docker's registry-mirrors; may be repeated", each(parseMirrorListener))
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
