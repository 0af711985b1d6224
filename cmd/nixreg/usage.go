package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixreg/nixreg/internal/setting"
)

const rootText = `A container registry over a Nix store: ask it for the image hello, and it answers with an image of the package hello and
all it needs. To try it without Nix:

  nixreg serve --demo
  docker pull localhost:5000/hello`

// unknownCommand is the error for words that do not begin with a command. cobra's error has several lines.
func unknownCommand(root *cobra.Command, words []string) error {
	name := ""
	if i := slices.IndexFunc(words, func(s string) bool { return !strings.HasPrefix(s, "-") }); i >= 0 {
		name = words[i]
	}
	if meant := meantCommand(root, name); meant != "" {
		return fmt.Errorf("unknown command %.100q: did you mean %s?", name, meant)
	}
	return fmt.Errorf("unknown command %.100q (see %s --help)", name, root.Name())
}

// helpCommand is cobra's, but an unknown command is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args)
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// explained wraps check, with an error that says what the command wants.
func explained(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		_, wanted, some := strings.Cut(cmd.Use, " ")
		given := fmt.Sprintf("%d arguments", len(args))
		if len(args) == 1 {
			given = fmt.Sprintf("%.100q", args[0])
		}
		text := fmt.Sprintf("takes %s, got %s", wanted, given)
		switch {
		case !some:
			text = "takes no arguments, got " + given
		case len(args) == 0:
			text = "needs " + wanted
		}
		return fmt.Errorf("%s %s (see %s --help)", cmd.Name(), text, cmd.CommandPath())
	}
}

// flagError is about a flag that does not exist, or a value that the flag cannot have.
func flagError(cmd *cobra.Command, err error) error {
	if own := setting.Error(""); errors.As(err, &own) {
		return own
	}
	if absent := (*pflag.NotExistError)(nil); errors.As(err, &absent) {
		err = unknownFlag(cmd, absent)
	}
	if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
		err = setting.WrongType(bad.GetFlag(), bad.GetValue())
	}
	return fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())
}

// message is the text of an error for users: without the kind at its end, which is meant for packages.
func message(err error) string {
	if errors.Is(err, syscall.EINVAL) {
		return err.Error() // here "invalid argument" is the reason
	}
	return strings.TrimSuffix(err.Error(), ": "+fs.ErrInvalid.Error())
}
