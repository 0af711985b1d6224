package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/channel"
	"github.com/nixreg/nixreg/store/demo"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/nixconf"
	"github.com/nixreg/nixreg/store/web"
)

// storeURLs are the URLs of the stores in the settings. defaulted reports that there is no local store, and cache.nixos.org
// stands in.
func storeURLs(c *Config, log *slog.Logger) (urls []storeURL, defaulted bool, err error) {
	x := &expansion{hasLocal: local.Exists(), conf: func() (*nixConf, error) { return readNixConf(c.LookupEnv, log) }, log: log}
	return x.expand(c.givenStores(x.hasLocal))
}

func readNixConf(lookupEnv func(string) (string, bool), log *slog.Logger) (*nixConf, error) {
	conf, err := nixconf.Read(lookupEnv)
	if err != nil {
		return nil, err
	}
	for _, err := range conf.Unread {
		log.Warn("a file of Nix's configuration is passed over, as Nix does", "error", err)
	}
	return &nixConf{
		substituters: conf.Substituters, keys: conf.TrustedPublicKeys, trusted: !conf.RequireSigs,
		netrc: conf.NetrcFile, certs: conf.SSLCertFile,
	}, nil
}

// openStores opens the stores in order of preference, the built-in one last.
func (p *parts) openStores(ctx context.Context, c *Config, urls []storeURL, in folders, log *slog.Logger) ([]store.Store, error) {
	o := &opener{parts: p, config: c, in: in, log: log, seen: make(map[string]opened)}
	var left error
	for _, u := range urls {
		err := o.open(ctx, u)
		if err != nil && !u.foreign {
			return nil, err
		}
		p.named = p.named || err == nil && (u.scheme == "local" || u.scheme == "file")
		if err != nil {
			left = err
			log.Warn("a substituter of Nix's configuration is left out", "substituter", shown(u.url), "because", err)
		}
	}
	if len(o.stores) == 0 && left != nil {
		return nil, fmt.Errorf("no substituter of Nix's configuration can be read: %w", left)
	}
	if c.Demo {
		p.named = true
		if err := o.cache(binarycache.Options{FS: demo.FS(), Trusted: true}, "the demo store"); err != nil {
			return nil, err
		}
	}
	return o.stores, nil
}

// opener opens each store once.
type opener struct {
	*parts
	config *Config
	in     folders
	log    *slog.Logger
	seen   map[string]opened  // by name
	spool  *binarycache.Spool // of all caches; nil before the first one
	stores []store.Store
}

func (o *opener) cacheLog() *slog.Logger { return cmp.Or(o.config.CacheLog, o.log) }

func (o *opener) open(ctx context.Context, u storeURL) error {
	switch u.scheme {
	case "local":
		return o.local(u)
	case "file":
		return o.files(u)
	}
	return o.remote(ctx, u)
}

// opened are the parameters of an open store, and whether it is from Nix's configuration.
type opened struct {
	with    string
	foreign bool
}

// taken reports whether the store is open already, and records it. A second mention with other parameters is an error, or a
// warning if one of the two is from Nix's configuration.
func (o *opener) taken(name string, u storeURL) (bool, error) {
	_, parameters, _ := strings.Cut(u.url, "?")
	bare, with := fmt.Sprint("", false, []string(nil), "", ""), fmt.Sprint(parameters, u.trusted, u.keys, u.netrc, u.certs)
	first, before := o.seen[name]
	switch {
	case !before:
		o.seen[name] = opened{with, u.foreign}
	case with == first.with || with == bare:
	case !u.foreign && !first.foreign:
		return true, fmt.Errorf("store %s is given twice: give it once, with the keys and parameters of both", name)
	default:
		o.log.Warn("store is given twice: keys and parameters that the first one lacks are not used", "store", name)
	}
	return before, nil
}

func (o *opener) add(name string, s store.Store, close func() error) {
	o.stores = append(o.stores, s)
	o.parts.stores = append(o.parts.stores, name)
	o.closes = append(o.closes, close)
}

func (o *opener) local(u storeURL) error {
	opts, err := local.ParseURL(u.url)
	if err != nil {
		return err
	}
	opts.Root = strings.TrimRight(opts.Root, "/") // root=/ is the local store
	name := opts.Dir()
	if opts.State != "" {
		name += " of " + opts.State
	}
	// a database must be opened once only
	if taken, err := o.taken(name, u); taken {
		return err
	}
	opts.Log = o.log
	s, err := local.Open(opts)
	if err != nil {
		return fmt.Errorf("store %s: %w", u.url, err)
	}
	o.add(name, s, s.Close)
	o.storeDirs = append(o.storeDirs, opts.Dir())
	if opts.Root == "" && opts.Real == "" && opts.State == "" {
		o.parts.local = s
	}
	return nil
}

// files opens a binary cache in a directory.
func (o *opener) files(u storeURL) error {
	dir, err := u.directory()
	if err != nil {
		return err
	}
	name := "file://" + dir
	if taken, err := o.taken(name, u); taken {
		return err
	}
	opts, err := o.trust(u, name)
	if err != nil {
		return err
	}
	opts.FS = os.DirFS(dir)
	return o.cache(opts, name)
}

// remote opens a binary cache on a server.
func (o *opener) remote(ctx context.Context, u storeURL) error {
	where, unknown, err := web.ParseLocation(u.url)
	if err != nil {
		return err
	}
	if err := refuse(unknown); err != nil {
		return fmt.Errorf("store %s: %w", where, err)
	}
	name := where.String()
	if taken, err := o.taken(name, u); taken {
		return err
	}
	opts, err := o.trust(u, name)
	if err != nil {
		return err
	}
	client, err := o.connect(ctx, where, cmp.Or(u.netrc, o.config.NetrcFile), cmp.Or(u.certs, o.config.CAFile), o.log)
	if err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	opts.Remote, opts.Records = client, o.parts.cache
	return o.cache(opts, name)
}

// trust returns the trusted keys of a cache.
func (o *opener) trust(u storeURL, name string) (binarycache.Options, error) {
	own, err := parseKeys(u.keys...)
	if err != nil {
		return binarycache.Options{}, fmt.Errorf("store %s: %w", name, err)
	}
	keys := slices.Concat(own, o.config.TrustedKeys)
	if name == nixosCache && !u.foreign {
		nixos, err := parseKeys(nixosKey)
		if err != nil {
			return binarycache.Options{}, err
		}
		keys = append(keys, nixos...)
	}
	return binarycache.Options{Trusted: u.trusted, Keys: keys}, nil
}

// cache opens a binary cache. The first call opens the spool, which all caches share.
func (o *opener) cache(opts binarycache.Options, name string) (err error) {
	if o.spool == nil {
		o.spool, err = binarycache.OpenSpool(binarycache.SpoolOptions{Dir: o.in.nars, Size: o.config.NARCache, Log: o.cacheLog()})
		if err != nil {
			return fmt.Errorf("archives of caches: %w", err)
		}
		o.closes = append(o.closes, o.spool.Close)
	}
	opts.Name, opts.Spool, opts.Log = name, o.spool, o.cacheLog()
	s, err := binarycache.Open(opts)
	if err != nil {
		return err // the error names the store
	}
	if len(opts.Keys) == 0 && !opts.Trusted {
		o.cacheLog().Warn("a cache serves content-addressed paths only: give --trusted-public-key, or ?trusted=true", "store", name)
	}
	o.add(name, s, s.Close)
	return nil
}

// keptArchives lists the archives of a spool with their hashes.
func keptArchives(dir string) (map[string][sha256.Size]byte, error) {
	return binarycache.KeptArchives(dir)
}

// connect returns a client for a server. netrc and certs are used if the location names none.
func (p *parts) connect(ctx context.Context, where web.Location, netrc, certs string, log *slog.Logger) (*web.Client, error) {
	client, err := web.New(ctx, web.Options{Location: where, Netrc: netrc, CAFile: certs, Log: log})
	if err != nil {
		return nil, err
	}
	p.closes = append(p.closes, func() error { client.Close(); return nil })
	return client, nil
}

// openChannels opens the channels of the settings, or nixos-unstable if neither stores nor channels are set and there is no
// local store.
func (p *parts) openChannels(ctx context.Context, c *Config, defaulted bool, dir string, log *slog.Logger) error {
	given := c.Channels
	if len(given) == 0 && defaulted {
		given = []string{nixosChannel}
	}
	for _, s := range given {
		name, location, err := channel.ParseName(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(p.channels, func(c store.Channel) bool { return c.Name() == name }) {
			return fmt.Errorf("channel %s is given twice: NAME=… in front of one of them gives it another name", name)
		}
		opts := channel.Options{Name: name, Location: location, Dir: dir, Every: c.ChannelRefresh, Log: log}
		if below := channel.Folder(location); !filepath.IsAbs(below) {
			if opts.Fetch, err = p.channelFetcher(ctx, c, below, log); err != nil {
				return fmt.Errorf("channel %s: %w", name, err)
			}
		}
		ch, err := channel.Open(ctx, opts)
		if err != nil {
			return err
		}
		p.closes = append(p.closes, func() error { ch.Close(); return nil })
		p.channels = append(p.channels, ch)
	}
	return nil
}

func (p *parts) channelFetcher(ctx context.Context, c *Config, below string, log *slog.Logger) (channel.Fetcher, error) {
	where, unknown, err := web.ParseLocation(below)
	if err != nil {
		return nil, err
	}
	if err := refuse(unknown); err != nil {
		return nil, err
	}
	client, err := p.connect(ctx, where, c.NetrcFile, c.CAFile, log)
	if err != nil {
		return nil, err
	}
	return channelFiles{client}, nil
}

// channelFiles adapts a web.Client to channel.Fetcher: neither package imports the other.
type channelFiles struct{ *web.Client }

func (f channelFiles) GetIf(ctx context.Context, name, etag string, limit int64) (channel.Answer, error) {
	a, err := f.Client.GetIf(ctx, name, etag, limit)
	if err != nil {
		return channel.Answer{}, err
	}
	return channel.Answer{Body: a.Body, NotModified: a.NotModified, ETag: a.ETag, URL: a.URL}, nil
}
