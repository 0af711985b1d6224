package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/server"
)

func serveCommand(p *program) *cobra.Command {
	c := new(config)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the images of a Nix store to container clients",
		Long: `Serve the images of a Nix store to container clients, until SIGTERM.

Every flag has a variable, too, NIXREG_LISTEN for --listen, and a key in the file of --config. A flag wins over its variable,
that over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return runServe(cmd.Context(), p, c)
		},
	}
	c.sourceFlags(cmd, "info")
	c.serverFlags(cmd)
	return cmd
}

// runServe serves until a signal, or an error that ends it.
func runServe(ctx context.Context, p *program, c *config) (err error) {
	c.Log = p.logger(c.logLevel, c.logJSON)
	if err := c.defaultData(); err != nil {
		return err
	}
	srv, err := server.New(ctx, c.Config)
	if err != nil {
		return inUse(err)
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	return srv.Serve(ctx, p.signals, p.reload)
}
