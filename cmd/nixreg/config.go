package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/internal/setting"
)

// config are the settings of a command. A flag wins over its variable, that over the file, that over the default.
type config struct {
	server.Config

	mirror    []server.Mirror // of --mirror; those of the file are in Config before
	mirrorTTL time.Duration   // of mirrors without one of their own
	file      string
	logJSON   bool
	logLevel  slog.Level
}

// fill sets the flags that are not on the command line from the environment or the configuration file, and checks all settings.
func (c *config) fill(cmd *cobra.Command, lookupEnv func(string) (string, bool)) error {
	if v, ok := lookupEnv(envPrefix + "CONFIG"); ok && c.file == "" {
		c.file = v
	}
	var file setting.File
	if c.file != "" {
		var err error
		if file, err = setting.ReadFile(c.file, settings(), sections(&c.Mirrors)); err != nil {
			return err
		}
	}
	origins, err := setting.Fill(cmd.Flags(), settings(), envPrefix, lookupEnv, file)
	if err != nil {
		return err
	}
	c.LookupEnv = lookupEnv
	return origins.Locate(c.checkAll(cmd))
}

const envPrefix = "NIXREG_"

// sections are the keys of the file that are not settings. The mirrors are read for every command, since base images need their
// logins.
func sections(mirrors *[]server.Mirror) map[string]setting.Section {
	return map[string]setting.Section{"mirrors": func(file string, value *yaml.Node) (err error) {
		*mirrors, err = parseMirrors(file, value)
		return err
	}}
}

// checkAll checks combinations of settings.
func (c *config) checkAll(cmd *cobra.Command) error {
	if cmd.Flags().Lookup("mirror") != nil {
		if err := c.completeServer(); err != nil {
			return err
		}
	}
	for name, file := range map[string]string{"netrc-file": c.NetrcFile, "ca-file": c.CAFile} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if c.Build != "" && c.BuildFile != "" {
		return errors.New("build and build-file: give one of them")
	}
	if cmd.Flags().Lookup("build-jobs") != nil && (c.BuildJobs < 1 || c.BuildJobs > 1000) {
		return fmt.Errorf("build-jobs %d: want a number from 1 to 1000", c.BuildJobs)
	}
	return nil
}

// completeServer merges the mirrors of flags and file, and finds the mirror of each address.
func (c *config) completeServer() (err error) {
	if c.Wait < time.Second || c.Wait > time.Hour {
		return fmt.Errorf("wait %v: want a duration from 1s to 1h", c.Wait)
	}
	if c.Mirrors, err = server.JoinMirrors(c.Mirrors, c.mirror); err != nil {
		return err
	}
	for i, m := range c.Mirrors {
		for _, h := range m.Hosts() {
			if slices.Contains(c.ServeAs, h) {
				return fmt.Errorf("serve-as %s: it is mirrored, too: one of the two has to answer for it", h)
			}
		}
		c.Mirrors[i].TTL = cmp.Or(m.TTL, c.mirrorTTL)
	}
	for i, l := range c.MirrorListen {
		if c.MirrorListen[i].Mirror, err = l.Find(c.Mirrors); err != nil {
			return err
		}
	}
	return nil
}

// defaultData sets the data directory to that of the user if none is given.
func (c *config) defaultData() (err error) {
	if c.Data == "" {
		c.Data, err = server.DefaultData()
	}
	return err
}
