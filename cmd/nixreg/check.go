package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/manifest/imagefile"
)

func checkCommand(p *program) *cobra.Command {
	c := new(config)
	var schema bool
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Say what is wrong with image files",
		Long: `Say what is wrong with image files, or with all of a directory, as serve --images would take them: definitions, conf.json
files, scripts, archives and layouts.

Each problem is one line, in a definition file with line and column, and makes the exit status 1. Warnings do not: of a Cmd,
Entrypoint or User, for example, that the image does not have. Nothing is hashed, served or stored.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if schema {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				_, err := fmt.Fprint(p.stdout, imagefile.Schema())
				return err
			}
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return runCheck(cmd.Context(), p, c, args)
		},
	}
	c.sourceFlags(cmd, "error")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of definition files, and check nothing")
	return cmd
}

func runCheck(ctx context.Context, p *program, c *config, files []string) error {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	say := slog.New(&lines{w: p.stderr})
	c.Log, c.CacheLog = p.logger(c.logLevel, c.logJSON), say
	return server.Check(ctx, c.Config, func(warning error) { say.Warn(warning.Error()) }, files...)
}
