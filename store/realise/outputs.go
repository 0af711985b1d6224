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

// outputPaths gives the paths of all outputs of a package, or none.
//
// Source: nixpkgs, lib/customisation.nix, and Nix, corepkgs/derivation.nix: each output is an attribute.
const outputPaths = `d: if (d.type or "") != "derivation" then [ ] else map (o: d.${o}.outPath or "") (d.outputs or [ "out" ])`

// outputs evaluates which paths a build of attr for system would give; none if nobody knows before it is built. Errors as for
// [Builder.Describe]. What it finds is remembered for a minute.
func (b *Builder) outputs(ctx context.Context, attr Attr, system string) ([]store.Path, error) {
	system, err := checked(attr, system)
	if err != nil {
		return nil, err
	}
	key, state := string(attr)+" "+system, b.source.state()
	if paths, ok := b.foreseen.get(key, state, b.now().Add(-goneTime)); ok {
		return slices.Clone(paths), nil
	}
	failure := "outputs " + key
	if err, ok := b.failed.get(failure, state, b.now().Add(-b.o.FailureTTL)); ok {
		return nil, err
	}
	paths, err := once(ctx, b.group, "outputs "+key, func(ctx context.Context) ([]store.Path, error) {
		paths, err := b.foresee(ctx, attr, system)
		if err != nil {
			b.remember(failure, state, err)
			return nil, err
		}
		b.foreseen.put(key, state, b.now(), paths)
		return paths, nil
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

// parseOutputs reads a JSON list of paths. One that is none, as that of an output whose contents give it its name, makes all
// unknown.
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
