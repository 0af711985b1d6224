package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/server"
)

func sbomCommand(p *program) *cobra.Command {
	c := new(config)
	var platform string
	var tlsVerify bool
	cmd := &cobra.Command{
		Use:   "sbom NAME[:TAG]|docker://HOST/NAME[:TAG]",
		Short: "Print an image's bill of materials",
		Long: `Print an image's bill of materials: an SPDX 2.3 document as JSON, the same bytes that a client finds as a referrer.

The image is made as serve makes it, from the same settings: a running server is not needed. With docker:// it is that of a
running nixreg, or of any registry that has one for the image. Of an image for several platforms it is that of this machine's
architecture, or of --platform.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			var wanted oci.Platform
			if platform != "" {
				var err error
				if wanted, err = oci.ParsePlatform(platform); err != nil {
					return err
				}
			}
			return sbom(cmd.Context(), p, c, args[0], wanted, !tlsVerify)
		},
	}
	c.sourceFlags(cmd, "warn")
	cmd.Flags().StringVar(&platform, "platform", "", "`OS/ARCH` or OS/ARCH/VARIANT, of an image for several (default Linux on this machine's architecture, else amd64)")
	cmd.Flags().BoolVar(&tlsVerify, "tls-verify", true, "want HTTPS with a certificate that is trusted, unless the registry is on localhost")
	return cmd
}

func sbom(ctx context.Context, p *program, c *config, name string, platform oci.Platform, skipVerify bool) (err error) {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	c.Log, c.CacheLog = p.logger(c.logLevel, c.logJSON), slog.New(&lines{w: p.stderr})
	var found server.Bill
	if strings.HasPrefix(name, "docker://") {
		found, err = server.RegistryBill(ctx, name, platform, skipVerify, c.Log)
	} else {
		found, err = ownBill(ctx, c, name, platform)
	}
	if err != nil {
		return err
	}
	if len(found.Others) > 0 {
		fmt.Fprintf(p.stderr, "nixreg: this is the image for %s; --platform takes another one: %s\n", found.Platform, strings.Join(found.Others, ", "))
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", found.SPDX)
	return err
}

// ownBill is that of an image that the settings name.
func ownBill(ctx context.Context, c *config, name string, platform oci.Platform) (found server.Bill, err error) {
	image, err := server.ParseTagged(name)
	if err != nil {
		return found, err
	}
	srv, err := server.New(ctx, c.Config)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	return srv.Bill(ctx, image, platform)
}
