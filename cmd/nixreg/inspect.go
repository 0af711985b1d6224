package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/manifest"
)

func inspectCommand(p *program) *cobra.Command {
	c := new(config)
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect NAME[:TAG]",
		Short: "Show what an image is made of",
		Long: `Show what an image is made of, one table for each platform.

The image is made as serve makes it, from the same settings, but in memory: a running server is not needed, and not
disturbed. NAME may begin with the server's address, as in docker pull.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return runInspect(cmd.Context(), p, c, args[0], asJSON)
		},
	}
	c.sourceFlags(cmd, "error") // the table shows the warnings
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runInspect(ctx context.Context, p *program, c *config, name string, asJSON bool) (err error) {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	image, err := server.ParseTagged(name)
	if err != nil {
		return err
	}
	c.Log, c.CacheLog = p.logger(c.logLevel, c.logJSON), slog.New(&lines{w: p.stderr})
	srv, err := server.New(ctx, c.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	reports, err := srv.Inspect(ctx, image)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(reports)
	}
	return printReports(p.stdout, reports)
}

func printReports(w io.Writer, reports []*manifest.Report) error {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printReport(w, r); err != nil {
			return err
		}
	}
	return nil
}

func printReport(w io.Writer, r *manifest.Report) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	platform := oci.Platform{OS: r.OS, Architecture: r.Architecture, Variant: r.Variant}
	fmt.Fprintf(tw, "image\t%s:%s\n", r.Repository, r.Tag)
	fmt.Fprintf(tw, "platform\t%s\n", platform)
	fmt.Fprintf(tw, "manifest\t%s (OCI)\n", r.Manifest)
	if r.DockerManifest != (v1.Hash{}) { // Docker has no types for some layers
		fmt.Fprintf(tw, "\t%s (Docker)\n", r.DockerManifest)
	}
	fmt.Fprintf(tw, "config\t%s\n", r.Config)
	fmt.Fprintf(tw, "size\t%s, layers: %d\n", humanSize(r.Size), len(r.Layers))
	fmt.Fprintf(tw, "command\t%s\n", command(r))
	if r.MainProgram != "" {
		fmt.Fprintf(tw, "\tthe package names %s as its main program: to run that, name it, or set Cmd in a definition\n", r.MainProgram)
	}
	for i, e := range r.Env {
		fmt.Fprintf(tw, "%s\t%s\n", onFirst(i, "env"), e)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(tw, "LAYER\tSIZE\tDIGEST\tSTORE PATHS")
	for i, l := range r.Layers {
		paths := strings.Join(l.Contents, "\n\t\t\t") // each on its own line, in its column
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\n", i+1, humanSize(l.Size), l.Digest, paths)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i, warning := range r.Warnings {
		fmt.Fprintf(w, "%swarning: %s\n", onFirst(i, "\n"), warning)
	}
	return nil
}

// onFirst is s for the first of several lines.
func onFirst(i int, s string) string {
	if i == 0 {
		return s
	}
	return ""
}

func command(r *manifest.Report) string {
	if len(r.Command) == 0 {
		if r.CommandNote != "" {
			return "none: " + r.CommandNote
		}
		return "none"
	}
	words := make([]string, len(r.Command))
	for i, word := range r.Command {
		words[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$") {
			words[i] = fmt.Sprintf("%q", word)
		}
	}
	return strings.Join(words, " ")
}
