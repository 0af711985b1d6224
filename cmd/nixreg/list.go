package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/manifest/catalog"
)

// maxListedTags bounds the tags in a line of the list; --json has all.
const maxListedTags = 6

func listCommand(p *program) *cobra.Command {
	c := new(config)
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List what can be pulled",
		Long: `List what can be pulled: a line for each name, with its tags, and its architectures where no download is needed to know them.

PATTERN is a part of a name, such as hel, or a whole name with *, ? and [a-z], such as 'python3*'. Without one the list has the
packages with programs, and the image files; a PATTERN also finds packages without programs. What --build can build is not
listed. The exit status is 1 if nothing matches.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return runList(cmd.Context(), p, c, strings.Join(args, ""), asJSON)
		},
	}
	c.sourceFlags(cmd, "warn")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with all tags")
	return cmd
}

// runList prints what the settings offer, as it comes.
func runList(ctx context.Context, p *program, c *config, pattern string, asJSON bool) (err error) {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	c.Log, c.CacheLog = p.logger(c.logLevel, c.logJSON), slog.New(&lines{w: p.stderr})
	c.Listen, c.MirrorListen = "", nil
	srv, err := server.New(ctx, c.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	out := bufio.NewWriter(p.stdout)
	print := printOffers
	if asJSON {
		print = printOffersJSON
	}
	n, err := print(out, srv.Offers(ctx, pattern))
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if n == 0 {
		return srv.NothingOffered(pattern)
	}
	return nil
}

// printOffers prints a line for each offer, and returns how many there were.
func printOffers(w io.Writer, offers iter.Seq2[catalog.Offer, error]) (n int, err error) {
	for o, err := range offers {
		if err != nil {
			return n, err
		}
		tags := o.Tags
		more := ""
		if len(tags) > maxListedTags {
			tags, more = tags[:maxListedTags], ", …"
		}
		line := fmt.Sprintf("%-30s  %-24s  %s", o.Name, strings.Join(tags, ", ")+more, strings.Join(o.Architectures, ", "))
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// printOffersJSON prints a list of objects, one a line; nothing if there are none.
func printOffersJSON(w io.Writer, offers iter.Seq2[catalog.Offer, error]) (n int, err error) {
	before := "[\n"
	for o, err := range offers {
		if err != nil {
			return n, err
		}
		b, err := json.Marshal(o)
		if err != nil {
			return n, err
		}
		if _, err := fmt.Fprintf(w, "%s  %s", before, b); err != nil {
			return n, err
		}
		before = ",\n"
		n++
	}
	if n > 0 {
		_, err = fmt.Fprintln(w, "\n]")
	}
	return n, err
}
