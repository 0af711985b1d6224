package main

import (
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/internal/setting"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	programs "github.com/nixreg/nixreg/manifest/program"
)

const (
	defaultListen = "localhost:5000"
	defaultWait   = 20 * time.Second // containerd 2.3 and newer wait for 30 s
)

func settings() []setting.Setting {
	all := []setting.Setting{
		{Name: "listen"},
		{Name: "data"},
		{Name: "images", Kind: setting.List, Split: filepath.SplitList},
		{Name: "store", Kind: setting.List, Split: strings.Fields},
		{Name: "trusted-public-key", Kind: setting.List, Split: strings.Fields},
		{Name: "netrc-file"},
		{Name: "ca-file"},
		{Name: "channel", Kind: setting.List, Split: strings.Fields},
		{Name: "channel-refresh"},
		{Name: "nar-cache"},
		{Name: "arch", Kind: setting.List, Split: strings.Fields},
		{Name: "build"},
		{Name: "build-file"},
		{Name: "build-timeout"},
		{Name: "build-jobs", Kind: setting.Number},
		{Name: "build-memory"},
		{Name: "keep"},
		{Name: "wait"},
		{Name: "demo", Kind: setting.Toggle},
		{Name: "serve-as", Kind: setting.List, Split: strings.Fields},
		{Name: "layer-encoding"},
		{Name: "layering"},
		{Name: "root", Kind: setting.List, Split: strings.Fields},
		{Name: "blob-cache"},
		{Name: "mirror", Kind: setting.List, Split: strings.Fields},
		{Name: "mirror-ttl"},
		{Name: "mirror-cache"},
		{Name: "mirror-listen", Kind: setting.List, Split: strings.Fields},
		{Name: "log-format"},
		{Name: "log-level"},
	}
	for i, s := range all {
		for other, name := range otherSettings {
			if name == s.Name {
				all[i].Others = append(all[i].Others, other)
			}
		}
	}
	return all
}

var rootParts = []imagefile.RootPart{imagefile.Passwd, imagefile.Tmp, imagefile.Certificates, imagefile.BinSh, imagefile.UsrBinEnv, imagefile.Home, imagefile.OSRelease}

func parseKey(name, text string) (server.PublicKey, error) {
	key, err := server.ParsePublicKey(text)
	if err != nil {
		err = setting.Errorf("%s: %v", name, err)
	}
	return key, err
}

// parseTTL parses a time for which tags are believed.
var parseTTL = setting.Duration(1, "30s, 5m or 12h")

func parseHost(name, text string) (string, error) {
	if !oci.IsHost(text) {
		return "", setting.Errorf("%s %.100q: want a host as images have it, such as docker.io or registry.example.com:5000", name, text)
	}
	return text, nil
}

var layerings = map[string]imagefile.Layering{string(imagefile.Nixpkgs): imagefile.Auto, string(imagefile.Shared): imagefile.Shared}

// sourceFlags adds the flags of every command that makes images; logLevel is the default of --log-level. The word between
// backquotes names the value, here and in docs/running.md.
func (c *config) sourceFlags(cmd *cobra.Command, logLevel string) {
	f := cmd.Flags()
	f.StringArrayVar(&c.Stores, "store", nil, "where images come from, a `URL`: auto, local, local?root=DIR, https://HOST, s3://BUCKET, file:///DIR or nix-conf; may be repeated (default auto)")
	setting.AddList(f, &c.TrustedKeys, "trusted-public-key", "`KEY` whose signatures are trusted in every cache, NAME:BASE64; may be repeated", setting.Each(parseKey))
	f.StringVar(&c.NetrcFile, "netrc-file", "", "`FILE` with the passwords of caches that name none themselves")
	f.StringVar(&c.CAFile, "ca-file", "", "`FILE` with certificate authorities to trust beside the system's, for caches that name none themselves")
	f.StringArrayVar(&c.Channels, "channel", nil, "names of packages without Nix, the `NAME` of a channel, NAME=URL, a URL or a directory: nixos-unstable; may be repeated")
	setting.AddList(f, &c.Architectures, "arch", "architectures that images by package name are made for, a `LIST` with commas: amd64,arm64 (default all)", setting.SomeOf(programs.Architectures()...))
	f.StringVar(&c.Build, "build", "", "build packages that are in no store from a flake, an `INSTALLABLE`: nixpkgs, github:OWNER/REPO/REF, ./DIR")
	f.StringVar(&c.BuildFile, "build-file", "", "the same from a Nix `FILE`")
	setting.Add(f, &c.BuildTimeout, "build-timeout", "30m", "`TIME` that one build may take", setting.Duration(time.Second, "30m or 12h, of 1s at least"))
	f.IntVar(&c.BuildJobs, "build-jobs", 2, "builds at once, a number `N`")
	setting.Add(f, &c.BuildMemory, "build-memory", "4GB", "`SIZE` of the heap that one evaluation may have; what builders take is Nix's to bound", setting.Size(1<<20, 1<<50))
	f.StringArrayVar(&c.Images, "images", nil, "definitions of images, and finished images, a directory or a file: `DIR|FILE`; may be repeated")
	f.BoolVar(&c.Demo, "demo", false, "serve the built-in store, in place of auto")
	setting.Add(f, &c.Encoding, "layer-encoding", "tar", "how layers are compressed, the `NAME` of an encoding: tar (not at all), gzip or zstd; each has digests of its own", setting.OneOf("tar, gzip or zstd", layer.EncodingsByName()))
	setting.AddList(f, &c.Root, "root", "what images by package name get in their root, `PARTS` with commas: passwd, tmp, certificates, binSh, usrBinEnv, home, osRelease", setting.SomeOf(rootParts...))
	setting.Add(f, &c.Layering, "layering", "shared", "order of the layers of images by package name, `nixpkgs|shared`: as nixpkgs' tools have it, or so that images share most", setting.OneOf("nixpkgs or shared", layerings))
	c.fileFlag(cmd)
	setting.Add(f, &c.logJSON, "log-format", "text", "form of the log, `text|json`", setting.OneOf("text or json", map[string]bool{"text": false, "json": true}))
	setting.Add(f, &c.logLevel, "log-level", logLevel, "`LEVEL` of the log: debug, info, warn or error", setting.Level)
}

// serverFlags adds the flags of serve.
func (c *config) serverFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	setting.Add(f, &c.Listen, "listen", defaultListen, "where to serve, `HOST:PORT`; port 0 takes any free port", setting.Address)
	f.DurationVar(&c.Wait, "wait", defaultWait, "`TIME` that a request waits for an answer before it is redirected to itself")
	setting.AddList(f, &c.ServeAs, "serve-as", "image `HOST` to answer for as a mirror (containerd's ?ns=); may be repeated", setting.Each(parseHost))
	setting.Add(f, &c.BlobCache, "blob-cache", "4GB", "`SIZE` of the directory that keeps compressed layers; 0 makes them anew for each request", setting.Size(0, math.MaxUint64))
	setting.Add(f, &c.NARCache, "nar-cache", "10GB", "`SIZE` of the directory that keeps downloads from caches", setting.Size(0, math.MaxUint64))
	setting.Add(f, &c.Keep, "keep", "168h", "`TIME` after its last pull that an image is kept from Nix's garbage collector", setting.Duration(time.Second, "30m or 12h, of 1s at least"))
	setting.Add(f, &c.ChannelRefresh, "channel-refresh", "1h", "check channels for changes once per `TIME`", setting.Duration(time.Minute, "30m or 12h, of a minute at least"))
	setting.AddList(f, &c.mirror, "mirror", "registry to mirror, a name as images have it, or with a URL, `NAME[=URL]`: docker.io, lab=http://127.0.0.1:5001; may be repeated", setting.Each(parseMirror))
	setting.Add(f, &c.mirrorTTL, "mirror-ttl", "5m", "check a mirrored tag for updates at most once per `TIME`", parseTTL)
	setting.Add(f, &c.MirrorCache, "mirror-cache", "10GB", "`SIZE` of the directory that keeps mirrored images", setting.Size(0, math.MaxUint64))
	setting.AddList(f, &c.MirrorListen, "mirror-listen", "address that serves one mirror alone, `[NAME=]HOST:PORT`, for Docker's registry-mirrors; may be repeated", setting.Each(parseMirrorListener))
	c.dataFlag(cmd)
}

func (c *config) dataFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.Data, "data", "", "`DIR` for records and caches (default nixreg in the user's cache directory)")
}

func (c *config) fileFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.file, "config", "", "YAML `FILE` with the same keys as these flags")
}
