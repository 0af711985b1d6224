package realise

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
)

// Description is what evaluation alone tells of a package. Fields are empty where the package does not say.
type Description struct {
	Name    string `json:"name"` // "hello-2.12.1"
	Pname   string `json:"pname"`
	Version string `json:"version"`

	// ImageName and ImageTag are what nixpkgs' dockerTools write beside an image: for streamLayeredImage the output is the
	// program "stream-<name>", for buildImage and buildLayeredImage a docker-archive.
	ImageName string `json:"imageName"`
	ImageTag  string `json:"imageTag"`
}

// IsImage reports whether the package is a whole image.
func (d Description) IsImage() bool { return d.ImageName != "" }

// describe takes strings alone, and never fails for an attribute that is absent.
//
// Source: nixpkgs, pkgs/build-support/docker/default.nix, streamLayeredImage and buildLayeredImage (passthru).
const describe = `d: if (d.type or "") != "derivation" then null else ` +
	`builtins.mapAttrs (n: v: if builtins.isString v then v else "") { ` +
	`name = d.name or ""; pname = d.pname or ""; version = d.version or ""; imageName = d.imageName or ""; imageTag = d.imageTag or ""; }`

// Describe evaluates what attr is for system ([Host] if empty), and builds nothing that evaluation does not need. Errors as for
// Build; what is no package gives one matching fs.ErrNotExist.
func (b *Builder) Describe(ctx context.Context, attr Attr, system string) (Description, error) {
	system, err := checked(attr, system)
	if err != nil {
		return Description{}, err
	}
	key, state := string(attr)+" "+system, b.source.state()
	if d, ok := b.described.get(key, state, b.now().Add(-b.o.Fresh)); ok {
		return d, nil
	}
	failure := "describe " + key
	if err, ok := b.failed.get(failure, state, b.now().Add(-b.o.FailureTTL)); ok {
		return Description{}, err
	}
	return once(ctx, b.group, "describe "+key, func(ctx context.Context) (Description, error) {
		d, err := b.look(ctx, attr, system)
		if err != nil {
			b.remember(failure, state, err)
			return Description{}, err
		}
		b.described.put(key, state, b.now(), d)
		return d, nil
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
