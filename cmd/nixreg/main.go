// Command nixreg is a container registry over a Nix store.
//
// This package parses, prints and exits: one file for each command, usage.go for mistakes in a command line, config.go, flags.go
// and values.go for the settings. What a command does is in package server, or in the package that owns it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	signals := make(chan os.Signal, 2) // room for the second one
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	p := &program{
		args: os.Args[1:], environ: os.Environ(), lookupEnv: os.LookupEnv, signals: signals, reload: reload,
		stdout: os.Stdout, stderr: os.Stderr,
	}
	os.Exit(run(context.Background(), p))
}

// run executes the command in p.args and returns the process's exit status. An error is one line on stderr.
func run(ctx context.Context, p *program) int {
	root := newRoot(p)
	warnOfVariables(p.stderr, p.environ)
	if err := root.ExecuteContext(ctx); err != nil {
		if _, rest, unknown := root.Find(p.args); unknown != nil {
			err = unknownCommand(root, rest)
		}
		fmt.Fprintln(p.stderr, "nixreg:", message(err))
		return 1
	}
	return 0
}

// newRoot returns the command that has all others.
func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:               "nixreg",
		Short:             "A container registry over a Nix store",
		Long:              rootText,
		Version:           thisVersion(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(serveCommand(p), listCommand(p), inspectCommand(p), sbomCommand(p), pullCommand(p), exportCommand(p), checkCommand(p), verifyCommand(p), versionCommand(p))
	for _, cmd := range root.Commands() {
		cmd.Args = explained(cmd.Args)
	}
	root.SetHelpCommand(helpCommand())
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	return root
}
