// Command nixreg is a container registry over a Nix store.
//
// This package only wires: one file for each command, usage.go for what a command line may be, config.go and flags.go for
// the settings, stores.go for what --store says, and wire.go and wire_builds.go, which are the one place where concrete
// kinds of stores are named.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	signals := make(chan os.Signal, 2) // the second must not get lost
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	p := &program{
		args: os.Args[1:], lookupEnv: os.LookupEnv, signals: signals, reload: reload,
		stdout: os.Stdout, stderr: os.Stderr,
	}
	os.Exit(p.run(context.Background()))
}

// program is all of nixreg and everything it takes from its surroundings but files and the network.
type program struct {
	args           []string
	lookupEnv      func(string) (string, bool)
	signals        <-chan os.Signal // to stop
	reload         <-chan os.Signal // to read anew what may have changed
	stdout, stderr io.Writer
}

// run executes the command in p.args and returns the process's exit status. An error is one line on stderr.
func (p *program) run(ctx context.Context) int {
	root := p.root()
	if err := root.ExecuteContext(ctx); err != nil {
		if _, rest, unknown := root.Find(p.args); unknown != nil {
			err = unknownCommand(root, rest)
		}
		fmt.Fprintln(p.stderr, "nixreg:", said(err))
		return 1
	}
	return 0
}

// root is the command that has all others.
func (p *program) root() *cobra.Command {
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
	root.AddCommand(p.serveCommand(), p.inspectCommand(), p.pullCommand(), p.exportCommand(), p.checkCommand(), p.verifyCommand(), p.versionCommand())
	for _, cmd := range root.Commands() {
		cmd.Args = explained(cmd.Args)
	}
	root.SetHelpCommand(helpCommand())
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	return root
}

// untilSignal returns a context that ends at the first signal; the caller calls stop.
func (p *program) untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		select {
		case <-p.signals:
			stop()
		case <-p.reload: // there is nothing to read anew: it means what it means to other programs
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}
