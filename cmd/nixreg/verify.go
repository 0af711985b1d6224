package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/server"
)

// verifyOptions are the flags of verify that no other command has.
type verifyOptions struct{ dryRun, quiet bool }

func verifyCommand(p *program) *cobra.Command {
	c, o := new(config), new(verifyOptions)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read all that is kept in the data directory, and remove what is damaged",
		Long: `Read all that is kept in the data directory from the disk, compare it with its hashes, and remove what is damaged:
compressed layers, archives from caches, mirrored blobs and base images. What is removed is made or fetched again when it
is next asked for.

Each damaged file is one line. With nothing damaged nothing is said. No serve may be using the directory meanwhile.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return runVerify(cmd.Context(), p, c, o)
		},
	}
	c.dataFlag(cmd)
	c.fileFlag(cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "remove nothing")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func runVerify(ctx context.Context, p *program, c *config, o *verifyOptions) error {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	if err := c.defaultData(); err != nil {
		return err
	}
	bar := newProgress(p.stderr)
	v := server.Verification{Dir: c.Data, DryRun: o.dryRun, Damaged: func(name string, err error) {
		fmt.Fprintf(bar, "nixreg: %s: %v\n", name, err)
	}}
	if !o.quiet {
		v.Progress = bar.report
	}
	err := server.Verify(ctx, v)
	bar.clear()
	return err
}
