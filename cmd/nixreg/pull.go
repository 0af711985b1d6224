package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/outfile"
	"github.com/nixreg/nixreg/internal/server"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

// pullOptions are the flags of pull.
type pullOptions struct {
	output              string
	platform            pull.Platform
	finalName, finalTag string
	tlsVerify           bool
	printNix, json      bool
	force, quiet        bool

	archGiven bool
}

func pullCommand(p *program) *cobra.Command {
	o := new(pullOptions)
	cmd := &cobra.Command{
		Use:   "pull docker://[HOST/]NAME[:TAG][@DIGEST]",
		Short: "Download an image as the archive that nixpkgs' pullImage makes of it",
		Long: `Download an image as the archive that nixpkgs' pullImage makes of it.

The archive is the same to the byte, and so is its hash; docker load takes it too. Credentials are those that docker login
and podman login keep.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.archGiven = cmd.Flags().Changed("arch")
			return runPull(cmd.Context(), p, o, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`file` to write, - for standard output (default docker-image-NAME-TAG.tar, or none with --print-nix or --json)")
	f.StringVar(&o.platform.OS, "os", "linux", "operating system, of an image for several")
	f.StringVar(&o.platform.Architecture, "arch", runtime.GOARCH, "architecture, of an image for several")
	f.StringVar(&o.platform.Variant, "variant", "", "variant of the architecture, such as v8")
	f.StringVar(&o.finalName, "final-name", "", "`name` of the image in the archive (default the image's own)")
	f.StringVar(&o.finalTag, "final-tag", "", "`tag` of the image in the archive (default the one asked for, or latest)")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "want HTTPS with a certificate that is trusted, unless the registry is on localhost")
	f.BoolVar(&o.printNix, "print-nix", false, "print the pullImage expression")
	f.BoolVar(&o.json, "json", false, "print what pullImage needs as JSON")
	f.BoolVar(&o.force, "force", false, "replace the file if it exists")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// runPull downloads the image, and prints its arguments for pullImage if asked to.
func runPull(ctx context.Context, p *program, o *pullOptions, image string) error {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	ref, err := o.complete(image, outfile.IsTerminal(p.stdout))
	if err != nil {
		return err
	}
	bar := newProgress(p.stderr)
	log := slog.New(&lines{w: bar, quiet: o.quiet})
	puller, err := server.NewPuller(ref.Host, !o.tlsVerify, o.waitDir(), log)
	if err != nil {
		return err
	}
	if !o.quiet {
		puller.Progress = bar.report
	}
	r := pull.Request{Image: ref, Platform: o.platform, FinalName: o.finalName, FinalTag: o.finalTag}
	var result *pull.Result
	fetch := func(w io.Writer) (err error) {
		result, err = puller.Pull(ctx, r, w)
		return err
	}
	if o.output == "" {
		err = fetch(io.Discard)
	} else {
		err = outfile.Write(ctx, o.output, o.force, p.stdout, fetch)
	}
	bar.clear()
	if err != nil {
		return o.advise(ctx, ref, err)
	}
	up, ok := puller.Upstream.(interface{ PlainHTTP() bool })
	plain := ok && up.PlainHTTP() // of localhost: the skopeo in pullImage makes no exception for it
	return o.print(p.stdout, pull.NewArguments(r, result, o.tlsVerify && !plain))
}

// complete checks the options and sets the defaults.
func (o *pullOptions) complete(image string, terminal bool) (pull.Reference, error) {
	ref, err := pull.ParseReference(image)
	if err != nil {
		return pull.Reference{}, err
	}
	o.finalName, o.finalTag = cmp.Or(o.finalName, ref.Familiar), cmp.Or(o.finalTag, ref.FinalTag())
	prints := o.printNix || o.json
	if o.output == "/dev/stdout" {
		o.output = "-" // as for export
	}
	switch {
	case o.printNix && o.json:
		return pull.Reference{}, errors.New("--print-nix and --json: give one of them")
	case o.output == "-" && prints:
		return pull.Reference{}, errors.New("--output -: standard output is for the archive alone, without --print-nix and --json")
	case o.output == "-" && terminal:
		return pull.Reference{}, errors.New("--output -: standard output is a terminal; redirect it, or give a file")
	case o.output == "" && !prints:
		o.output = "docker-image-" + strings.NewReplacer("/", "-", ":", "-").Replace(o.finalName+"-"+o.finalTag) + ".tar"
	}
	return ref, nil
}

// waitDir is the directory for uncompressed layers: that of the file, since that disk must have enough space; $TMPDIR may be in
// memory.
func (o *pullOptions) waitDir() string {
	if o.output == "" || o.output == "-" || outfile.IsPipe(o.output) {
		return os.TempDir()
	}
	return filepath.Dir(o.output)
}

// advise adds to an error what the user can do about it.
func (o *pullOptions) advise(ctx context.Context, ref pull.Reference, err error) error {
	var wire *upstream.Error
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w (--force replaces it)", err)
	case !errors.As(err, &wire):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (if it needs credentials: docker login %s)", err, ref.Host)
	case o.tlsVerify && (errors.Is(wire, upstream.ErrNotHTTPS) || errors.Is(wire, upstream.ErrCertificate)):
		return fmt.Errorf("%w (--tls-verify=false does without)", err)
	}
	return err
}

func (o *pullOptions) print(w io.Writer, image pull.Arguments) error {
	switch {
	case o.json:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(image)
	case o.printNix:
		_, err := io.WriteString(w, image.Nix(o.archGiven))
		return err
	}
	return nil
}
