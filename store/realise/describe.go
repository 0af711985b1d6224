package realise

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// Description is the result of an evaluation of a package. Fields that the package does not have are empty.
type Description struct {
	Name    string `json:"name"` // "hello-2.12.1"
	Pname   string `json:"pname"`
	Version string `json:"version"`

	// ImageName and ImageTag are attributes of images of nixpkgs' dockerTools. The output of streamLayeredImage is the program
	// "stream-<name>", that of buildImage and buildLayeredImage a docker-archive.
	ImageName string `json:"imageName"`
	ImageTag  string `json:"imageTag"`

	// MainProgram and OutputsToInstall are attributes of meta.
	MainProgram      string   `json:"mainProgram"`
	OutputsToInstall []string `json:"outputsToInstall"`
}

// IsImage reports whether the package is a whole image.
func (d Description) IsImage() bool { return d.ImageName != "" }

// describe takes only strings, and does not fail for absent attributes.
//
// Source: nixpkgs, pkgs/build-support/docker/default.nix, streamLayeredImage and buildLayeredImage (passthru), and
// pkgs/stdenv/generic/check-meta.nix (meta).
const describe = `d: if (d.type or "") != "derivation" then null else let ` +
	`m = if builtins.isAttrs (d.meta or null) then d.meta else { }; o = m.outputsToInstall or [ ]; in ` +
	`builtins.mapAttrs (n: v: if builtins.isString v then v else "") { ` +
	`name = d.name or ""; pname = d.pname or ""; version = d.version or ""; imageName = d.imageName or ""; imageTag = d.imageTag or ""; ` +
	`mainProgram = m.mainProgram or ""; } // { ` +
	`outputsToInstall = if builtins.isList o then builtins.filter builtins.isString o else [ ]; }`

// Describe evaluates attr for system ([Host] if empty), and builds only what the evaluation needs. Errors are those of Build; one for
// an attribute that is no package matches [fs.ErrNotExist].
func (b *Builder) Describe(ctx context.Context, attr Attr, system string) (Description, error) {
	system, err := checked(attr, system)
	if err != nil {
		return Description{}, err
	}
	return cached(ctx, b, b.described, "describe "+string(attr)+" "+system, always, func(ctx context.Context) (Description, error) {
		return b.look(ctx, attr, system)
	})
}

func (b *Builder) look(ctx context.Context, attr Attr, system string) (Description, error) {
	what := fmt.Sprintf("evaluate %s for %s", attr, system)
	full, err := b.locate(ctx, attr, system)
	if err != nil {
		return Description{}, err
	}
	out, err := b.evaluate(ctx, what, full, system, describe)
	if err != nil {
		return Description{}, err
	}
	var d *Description
	if err := json.Unmarshal(out, &d); err != nil {
		return Description{}, fmt.Errorf("%s: %w: %w", what, err, fs.ErrInvalid)
	}
	if d == nil {
		return Description{}, fmt.Errorf("%s: not a package: %w", what, fs.ErrNotExist)
	}
	return *d, nil
}

// outputPaths gives the paths of all outputs of a package, or none.
//
// Source: nixpkgs, lib/customisation.nix, and Nix, corepkgs/derivation.nix: each output is an attribute.
const outputPaths = `d: if (d.type or "") != "derivation" then [ ] else map (o: d.${o}.outPath or "") (d.outputs or [ "out" ])`

// outputs evaluates which paths a build of attr for system would give. There are none if they cannot be known before it is built.
// Errors as for [Builder.Describe].
func (b *Builder) outputs(ctx context.Context, attr Attr, system string) ([]store.Path, error) {
	system, err := checked(attr, system)
	if err != nil {
		return nil, err
	}
	paths, err := cached(ctx, b, b.foreseen, "outputs "+string(attr)+" "+system, always, func(ctx context.Context) ([]store.Path, error) {
		return b.foresee(ctx, attr, system)
	})
	return slices.Clone(paths), err
}

func (b *Builder) foresee(ctx context.Context, attr Attr, system string) ([]store.Path, error) {
	what := fmt.Sprintf("evaluate %s for %s", attr, system)
	full, err := b.locate(ctx, attr, system)
	if err != nil {
		return nil, err
	}
	out, err := b.evaluate(ctx, what, full, system, outputPaths)
	if err != nil {
		return nil, err
	}
	paths, err := parseOutputs(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return paths, nil
}

// parseOutputs reads a JSON list of paths. If one of them is not a path, as that of an output whose name follows from its
// contents, none is known.
func parseOutputs(out []byte) ([]store.Path, error) {
	var names []string
	if err := json.Unmarshal(out, &names); err != nil {
		return nil, fmt.Errorf("nix's list of outputs: %w: %w", err, fs.ErrInvalid)
	}
	var paths []store.Path
	for _, name := range names {
		p, err := store.ParsePath(strings.TrimPrefix(name, store.Dir+"/"))
		if err != nil {
			return nil, nil
		}
		paths = append(paths, p)
	}
	return paths, nil
}
