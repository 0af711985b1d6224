package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/outfile"
	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/manifest/export"
	"github.com/nixreg/nixreg/manifest/layer"
)

// exportOptions are the flags of export that no other command has, and what they mean.
type exportOptions struct {
	platform     string
	tlsVerify    bool
	force, quiet bool

	server.Export
}

func exportCommand(p *program) *cobra.Command {
	c, o := new(config), new(exportOptions)
	cmd := &cobra.Command{
		Use:   "export NAME[:TAG|@DIGEST] DESTINATION",
		Short: "Write an image as an archive or a directory, or push it to a registry",
		Long: `Write an image as an archive or a directory, or push it to a registry.

The image is made as serve makes it, from the same settings, but in memory: a running server is not needed, and not
disturbed. The destination is one of

  docker-archive:FILE[:NAME:TAG]  what docker load takes, and, of an image of streamLayeredImage, what its script writes
  docker-archive:- or -           the same on standard output
  oci:DIR[:TAG]                   a directory in OCI's image layout, which may have other images
  docker://HOST/REPO[:TAG]        a registry, which is sent what it lacks; credentials are those of docker login

Of an image for several platforms one is taken: this machine's, or that of --platform.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return runExport(cmd.Context(), p, c, o, args[0], args[1])
		},
	}
	c.sourceFlags(cmd, "warn")
	f := cmd.Flags()
	f.StringVar(&o.platform, "platform", "", "`OS/ARCH` or OS/ARCH/VARIANT, of an image for several (default Linux on this machine's architecture, else amd64)")
	f.BoolVar(&o.All, "all", false, "all platforms, to oci: and docker://")
	f.StringArrayVar(&o.MountFrom, "mount-from", nil, "`repository` of the target registry that may have some of the layers; may be repeated")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "want HTTPS with a certificate that is trusted, unless the registry is on localhost")
	f.BoolVar(&o.force, "force", false, "replace the file if it exists")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// complete checks and parses the options.
func (o *exportOptions) complete(destination string, terminal bool) (err error) {
	if o.To, err = export.ParseDestination(destination); err != nil {
		return err
	}
	if o.platform != "" {
		if o.Platform, err = oci.ParsePlatform(o.platform); err != nil {
			return err
		}
	}
	switch archive := o.To.Transport == export.DockerArchive; {
	case archive && o.All:
		return errors.New("--all: a docker-archive holds the image of one platform")
	case o.All && o.platform != "":
		return errors.New("--all and --platform: give one of them")
	case len(o.MountFrom) > 0 && o.To.Transport != export.Docker:
		return errors.New("--mount-from: goes with docker:// alone")
	case archive && o.To.Path == "-" && terminal:
		return errors.New("standard output is a terminal: redirect it, or give a file")
	}
	return nil
}

// runExport makes an image and writes it to its destination.
func runExport(ctx context.Context, p *program, c *config, o *exportOptions, image, destination string) (err error) {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	if o.Image, err = server.ParseImage(image); err != nil {
		return err
	}
	if err := o.complete(destination, outfile.IsTerminal(p.stdout)); err != nil {
		return err
	}
	archive := o.To.Transport == export.DockerArchive
	if archive && o.Image.Tag != "" {
		c.Encoding = layer.Tar // layers in an archive are plain; but a digest may belong to an image with compressed ones
	}
	bar := newProgress(p.stderr)
	c.Log = (&program{stderr: bar}).logger(c.logLevel, c.logJSON)
	c.CacheLog = slog.New(&lines{w: bar, quiet: o.quiet})
	srv, err := server.New(ctx, c.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	streams := archive && (o.To.Path == "-" || outfile.IsPipe(o.To.Path)) // the reader shows its own progress
	if bar.terminal && !o.quiet && !streams {
		o.Progress = bar.report
	}
	o.SkipVerify = !o.tlsVerify
	write := func(w io.Writer) error { return srv.Export(ctx, w, o.Export) }
	if archive {
		err = outfile.Write(ctx, o.To.Path, o.force, p.stdout, write)
	} else {
		err = write(nil)
	}
	bar.clear()
	return o.advise(ctx, err)
}

// advise adds to an error what the user can do about it.
func (o *exportOptions) advise(ctx context.Context, err error) error {
	host, _, _ := strings.Cut(o.To.Path, "/")
	pushing := o.To.Transport == export.Docker
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case errors.Is(err, fs.ErrExist) && o.To.Transport == export.DockerArchive:
		return fmt.Errorf("%w (--force replaces it)", err)
	case pushing && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (if it needs credentials: docker login %s)", err, host)
	case pushing && o.tlsVerify && aboutTLS(err.Error()):
		return fmt.Errorf("%w (--tls-verify=false does without)", err)
	}
	return err
}

// aboutTLS goes by the text, since these errors have no types.
func aboutTLS(text string) bool {
	return strings.Contains(text, "HTTPS") || strings.Contains(text, "x509: ")
}
