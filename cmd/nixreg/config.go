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

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
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
	encoding  layer.Encoding
	root      []imagefile.RootPart
	blobCache int64 // bytes

	trustedKeys    []publicKey // for every cache
	netrcFile      string      // for caches that name none
	caFile         string      // likewise
	channels       []string    // names, NAME=URL, URLs or files
	channelRefresh time.Duration
	narCache       int64 // bytes
	archs          []string

	build        string // an installable
	buildFile    string // at most one of the two is set
	buildTimeout time.Duration
	buildJobs    int
	buildMemory  int64 // bytes
	keep         time.Duration

	mirrors      []mirrorConfig   // of the file's section, and for serve those of --mirror
	mirror       []mirrorConfig   // of --mirror
	mirrorTTL    time.Duration    // of mirrors that have none of their own
	mirrorCache  int64            // bytes
	mirrorListen []mirrorListener // for serve, each with its mirror

	file     string
	logJSON  bool
	logLevel slog.Level

	lookupEnv func(string) (string, bool) // for what is set for other programs than this one
	cacheLog  *slog.Logger                // what there is to say of caches to whoever waits for a command; nil is the log
}

const (
	defaultListen = "localhost:5000"
	defaultWait   = 20 * time.Second // containerd 2.3 and newer wait for 30 s
	envPrefix     = "NIXREG_"
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
		if err := assign(f.Value, values); err != nil {
			if own := settingError(""); !errors.As(err, &own) {
				err = wrongType(f, values[0])
			}
			return fmt.Errorf("%s: %w", origin, err)
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

// checkAll checks what several settings say together.
func (c *config) checkAll(cmd *cobra.Command) error {
	if cmd.Flags().Lookup("mirror") != nil {
		if err := c.completeServer(); err != nil {
			return err
		}
	}
	for name, file := range map[string]string{"netrc-file": c.netrcFile, "ca-file": c.caFile} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if c.build != "" && c.buildFile != "" {
		return errors.New("build and build-file: give one of them")
	}
	if cmd.Flags().Lookup("build-jobs") != nil && (c.buildJobs < 1 || c.buildJobs > 1000) {
		return fmt.Errorf("build-jobs %d: want a number from 1 to 1000", c.buildJobs)
	}
	return nil
}

// completeServer puts the mirrors of the flags beside those of the file, and gives each listener its mirror.
func (c *config) completeServer() (err error) {
	if c.wait < time.Second || c.wait > time.Hour {
		return fmt.Errorf("wait %v: want a duration from 1s to 1h", c.wait)
	}
	if c.mirrors, err = joinMirrors(c.mirrors, c.mirror); err != nil {
		return err
	}
	for i, m := range c.mirrors {
		for _, h := range m.hosts() {
			if slices.Contains(c.serveAs, h) {
				return fmt.Errorf("serve-as %s: it is mirrored, too: one of the two has to answer for it", h)
			}
		}
		c.mirrors[i].ttl = cmp.Or(m.ttl, c.mirrorTTL)
	}
	for i, l := range c.mirrorListen {
		if c.mirrorListen[i].mirror, err = l.find(c.mirrors); err != nil {
			return err
		}
	}
	return nil
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
	o := &slog.HandlerOptions{Level: c.logLevel}
	if c.logJSON {
		return slog.New(slog.NewJSONHandler(p.stderr, o))
	}
	return slog.New(slog.NewTextHandler(p.stderr, o))
}

// buildSource is what is built from, for people; "" if nothing is.
func (c *config) buildSource() string {
	if c.buildFile != "" {
		return c.buildFile
	}
	return shown(c.build)
}
