package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/export"
	"github.com/nixreg/nixreg/manifest/layer"
)

// exportOptions are the flags of export that have nothing to do with where images come from.
type exportOptions struct {
	platform     string
	all          bool
	mountFrom    []string
	tlsVerify    bool
	force, quiet bool

	want export.Platform // what platform comes to; zero: whichever is likely to be meant
	to   export.Destination
	log  *slog.Logger
}

func (p *program) exportCommand() *cobra.Command {
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
			return p.export(cmd.Context(), c, o, args[0], args[1])
		},
	}
	c.sourceFlags(cmd, "warn")
	f := cmd.Flags()
	f.StringVar(&o.platform, "platform", "", "`OS/ARCH` or OS/ARCH/VARIANT, of an image for several (default Linux on this machine's architecture, else amd64)")
	f.BoolVar(&o.all, "all", false, "all platforms, to oci: and docker://")
	f.StringArrayVar(&o.mountFrom, "mount-from", nil, "`repository` of the target registry that may have some of the layers; may be repeated")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "want HTTPS with a certificate that is trusted")
	f.BoolVar(&o.force, "force", false, "replace the file if it exists")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// complete checks the options, and reads those that are text.
func (o *exportOptions) complete(destination string, terminal bool) (err error) {
	if o.to, err = export.ParseDestination(destination); err != nil {
		return err
	}
	if o.platform != "" {
		if o.want, err = oci.ParsePlatform(o.platform); err != nil {
			return err
		}
	}
	switch archive := o.to.Transport == export.DockerArchive; {
	case archive && o.all:
		return errors.New("--all: a docker-archive holds the image of one platform")
	case o.all && o.platform != "":
		return errors.New("--all and --platform: give one of them")
	case len(o.mountFrom) > 0 && o.to.Transport != export.Docker:
		return errors.New("--mount-from: goes with docker:// alone")
	case archive && o.to.Path == "-" && terminal:
		return errors.New("standard output is a terminal: redirect it, or give a file")
	}
	return nil
}

// export makes an image and writes it where it is to go.
func (p *program) export(ctx context.Context, c *config, o *exportOptions, image, destination string) (err error) {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	ref, err := parseExported(image)
	if err == nil {
		err = o.complete(destination, isTerminal(p.stdout))
	}
	if err != nil {
		return err
	}
	if o.to.Transport == export.DockerArchive && ref.tag != "" {
		c.encoding = layer.Tar // what an archive's layers are; a digest may be that of an image with others
	}
	bar := &progress{w: p.stderr, terminal: isTerminal(p.stderr), now: time.Now}
	o.log = (&program{stderr: bar}).logger(c)
	c.cacheLog = slog.New(&lines{w: bar, quiet: o.quiet})
	made, err := memorySource(ctx, c, o.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.close()) }()
	var report export.Progress
	if bar.terminal && !o.quiet && !o.streams() {
		report = bar.report
	}
	write := func(w io.Writer) error { return o.write(ctx, w, made, ref, report) }
	if o.to.Transport == export.DockerArchive {
		err = o.output(ctx, p.stdout, write)
	} else {
		err = write(nil)
	}
	bar.clear()
	return o.advise(ctx, err)
}

// exported names an image as people do; either tag or digest is set.
type exported struct {
	repositories []string // readings of the name, the likeliest first
	tag          string
	digest       v1.Hash
}

func parseExported(image string) (r exported, err error) {
	name, digest, byDigest := strings.Cut(image, "@")
	if byDigest {
		if r.digest, err = v1.NewHash(digest); err != nil || r.digest.Algorithm != "sha256" {
			return r, fmt.Errorf("image %.300q: want @sha256: and 64 hex digits", image)
		}
	}
	if r.repositories, r.tag, err = imageNames(name); err != nil {
		return r, err
	}
	if byDigest {
		if _, _, tagged := oci.SplitTag(name); tagged {
			return r, fmt.Errorf("image %.300q: want a tag or a digest, not both", image)
		}
		r.tag = ""
	}
	return r, nil
}

// find finds the image, and where its parts are.
func (r exported) find(ctx context.Context, s *manifest.Source) (*exportedFrom, *v1.Descriptor, error) {
	var first error
	for _, repository := range r.repositories {
		request := manifest.Request{Repository: repository, Tag: r.tag, Digest: r.digest, Accept: anyType}
		top, err := s.Manifest(ctx, request)
		if err == nil {
			return &exportedFrom{s, repository, r.tag}, top, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, nil, first
}

func anyType(offers ...types.MediaType) (types.MediaType, bool) { return offers[0], true }

// exportedFrom is a repository as package export wants it.
type exportedFrom struct {
	source     *manifest.Source
	repository string
	tag        string // "" for a digest
}

func (f *exportedFrom) Manifest(ctx context.Context, d v1.Hash) (*v1.Descriptor, error) {
	return f.source.Manifest(ctx, manifest.Request{Repository: f.repository, Digest: d})
}

func (f *exportedFrom) Blob(ctx context.Context, d v1.Hash) (export.Blob, error) {
	return f.source.Blob(ctx, f.repository, d)
}

// notes are those of an archive, whose image is called as it calls itself unless it is given a name.
func (f *exportedFrom) notes(ctx context.Context, config v1.Hash, name string) (export.Notes, error) {
	n, err := f.source.ArchiveNotes(ctx, f.repository, f.tag, config)
	if err != nil {
		return export.Notes{}, err
	}
	notes := export.Notes{MTime: n.MTime, Layers: n.Layers}
	switch {
	case name != "":
		notes.RepoTags = []string{name}
	case n.RepoTag != "":
		notes.RepoTags = []string{n.RepoTag}
	case f.tag != "":
		notes.RepoTags = []string{f.repository + ":" + f.tag}
	}
	return notes, nil
}

// write makes the image and writes it; w is for an archive.
func (o *exportOptions) write(ctx context.Context, w io.Writer, made *parts, image exported, report export.Progress) error {
	from, top, err := image.find(ctx, made.source)
	if err != nil {
		return made.explain(image.repositories[0], err)
	}
	img, err := o.open(ctx, from, top)
	if err != nil {
		return err
	}
	for _, d := range img.Missing() {
		o.log.Warn("an image of the index is not there, and left out", "digest", d)
	}
	switch o.to.Transport {
	case export.OCI:
		return img.WriteLayout(ctx, o.to.Path, o.to.Name, report)
	case export.Docker:
		return img.Push(ctx, export.Target{
			Name: o.to.Path, MountFrom: o.mountFrom, Keychain: authn.DefaultKeychain, SkipVerify: !o.tlsVerify, UserAgent: "nixreg",
		}, report)
	}
	notes, err := from.notes(ctx, img.Config(), o.to.Name)
	if err != nil {
		return err
	}
	return img.WriteArchive(ctx, w, notes, report)
}

func (o *exportOptions) open(ctx context.Context, from *exportedFrom, top *v1.Descriptor) (*export.Image, error) {
	if o.all {
		return export.OpenAll(ctx, from, top)
	}
	return export.Open(ctx, from, top, o.want)
}

// advise says what to do about an error, where that is known.
func (o *exportOptions) advise(ctx context.Context, err error) error {
	host, _, _ := strings.Cut(o.to.Path, "/")
	pushing := o.to.Transport == export.Docker
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case errors.Is(err, fs.ErrExist) && o.to.Transport == export.DockerArchive:
		return fmt.Errorf("%w (--force replaces it)", err)
	case pushing && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (if it needs credentials: docker login %s)", err, host)
	case pushing && o.tlsVerify && aboutTLS(err.Error()):
		return fmt.Errorf("%w (--tls-verify=false does without)", err)
	}
	return err
}

// aboutTLS goes by the text, where there are no kinds of errors to go by.
func aboutTLS(text string) bool {
	return strings.Contains(text, "HTTPS") || strings.Contains(text, "x509: ")
}
