package realise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

// features are commands that nix still calls experimental.
var features = []string{"--extra-experimental-features", "nix-command flakes"}

// Built is the result of a build.
type Built struct {
	// Outputs are the paths of the outputs that nix installs by default: out first, then by the names of the outputs.
	Outputs []store.Path
	// Main is the one of Outputs that meta.outputsToInstall has first; "" if the package has no such list.
	Main store.Path
	// Program is meta.mainProgram; "" if the package has none.
	Program string
}

func (b Built) clone() Built {
	b.Outputs = slices.Clone(b.Outputs)
	return b
}

func (b Built) weight() int64 { return weighPaths(b.Outputs) + int64(len(b.Main)+len(b.Program)) }

// Build builds attr for system ([Host] if empty) and returns the outputs that nix installs by default. A result of the last [Options.Fresh] that is still in the store is returned without a build. Callers at the same time share one build, which goes
// on when they leave. The garbage collector may delete the paths: see [Roots].
//
// Errors match [fs.ErrNotExist] (no such attribute, or not a package), [context.DeadlineExceeded] (of the caller, or
// [Options.Timeout]), [ErrBusy], store.ErrUnavailable (closed), or are a [BuildError]. Failures are remembered for
// [Options.FailureTTL].
func (b *Builder) Build(ctx context.Context, attr Attr, system string) (Built, error) {
	return b.build(ctx, attr, system, false)
}

// build is Build. With again, a remembered result does not count.
func (b *Builder) build(ctx context.Context, attr Attr, system string, again bool) (Built, error) {
	system, err := checked(attr, system)
	if err != nil {
		return Built{}, err
	}
	good := func(r Built) bool { return !again && b.present(r.Outputs) }
	r, err := cached(ctx, b, b.built, "build "+string(attr)+" "+system, good, func(ctx context.Context) (Built, error) {
		return b.realise(ctx, attr, system)
	})
	return r.clone(), err
}

// checked checks the arguments for nix, and returns system or its default.
func checked(attr Attr, system string) (string, error) {
	if _, err := ParseAttr(string(attr)); err != nil {
		return "", err
	}
	if system == "" {
		system = Host()
	}
	return system, checkSystem(system)
}

func present(paths []store.Path) bool {
	for _, p := range paths {
		if _, err := os.Lstat(p.Abs()); err != nil {
			return false
		}
	}
	return true
}

// realise waits for a slot and runs one build.
func (b *Builder) realise(ctx context.Context, attr Attr, system string) (Built, error) {
	what := fmt.Sprintf("build %s for %s", attr, system)
	leave, err := enter(ctx, b.builds)
	if err != nil {
		return Built{}, b.explain(what, 0, new(tail), err)
	}
	defer leave()
	about, err := b.Describe(ctx, attr, system) // if attr is a set in a file, nix would build every package in it
	if err != nil {
		return Built{}, err
	}
	full, err := b.locate(ctx, attr, system)
	if err != nil {
		return Built{}, err
	}
	args := slices.Concat(features, []string{"build", "--json", "--no-link", "--print-build-logs"}, b.source.args(full, system))
	start := b.now()
	b.o.Log.Info("build begins", "attribute", string(attr), "system", system)
	out, err := b.watched(ctx, what, args)
	log := b.o.Log.With("attribute", string(attr), "system", system, "duration", b.now().Sub(start).Round(time.Millisecond))
	if err != nil {
		log.Warn("build failed", "err", err)
		return Built{}, err
	}
	r, err := parseBuilt(out, about)
	if err != nil {
		return Built{}, fmt.Errorf("%s: %w", what, err)
	}
	log.Info("built", "path", string(r.Outputs[0]), "outputs", len(r.Outputs))
	return r, nil
}

// watched runs nix within [Options.Timeout], and logs its progress.
func (b *Builder) watched(ctx context.Context, what string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	t, start := new(tail), b.now()
	flight.Progress(ctx, func() string { // not what: it may have text of a definition
		return fmt.Sprintf("a build has run for %s", b.now().Sub(start).Round(time.Second))
	})
	ticker := time.NewTicker(b.every)
	defer ticker.Stop()
	over, reported := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(reported)
		b.report(over, ticker.C, what, t)
	}()
	out, err := b.command.run(ctx, t, args...)
	close(over)
	<-reported
	return out, b.explain(what, b.o.Timeout, t, err)
}

func (b *Builder) report(over <-chan struct{}, ticks <-chan time.Time, what string, t *tail) {
	start := b.now()
	for {
		select {
		case <-over:
			return
		case <-ticks:
			b.o.Log.Info("still running: "+what, "elapsed", b.now().Sub(start).Round(time.Second), "last", t.line())
		}
	}
}

// evaluate returns the value of full, after the function apply, as JSON.
func (b *Builder) evaluate(ctx context.Context, what, full, system, apply string) ([]byte, error) {
	leave, err := enter(ctx, b.evals)
	if err != nil {
		return nil, b.explain(what, 0, new(tail), err)
	}
	defer leave()
	limit := min(evalTimeout, b.o.Timeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := new(tail)
	args := slices.Concat(features, []string{"eval", "--json"}, b.source.args(full, system), []string{"--apply", apply})
	out, err := b.command.run(ctx, t, args...)
	return out, b.explain(what, limit, t, err)
}

// explain makes the error for the end of a child process that did what.
func (b *Builder) explain(what string, limit time.Duration, t *tail, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &BuildError{What: fmt.Sprintf("%s: stopped after %s", what, limit), Lines: t.last(), Err: err}
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, errClosed)
	case ended(err):
		return failure(what, t, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// parseBuilt parses the output of "nix build --json" for one installable.
//
// Source: Nix, nix/build.md, and libcmd/built-path.cc, BuiltPath::toJSON.
func parseBuilt(out []byte, about Description) (Built, error) {
	var results []struct {
		Outputs map[string]string `json:"outputs"`
	}
	if err := json.Unmarshal(out, &results); err != nil {
		return Built{}, fmt.Errorf("what nix says it built: %w: %w", err, fs.ErrInvalid)
	}
	if len(results) != 1 || len(results[0].Outputs) == 0 {
		return Built{}, fmt.Errorf("nix says it built nothing, or too much: %w", fs.ErrInvalid)
	}
	r := Built{Program: about.MainProgram}
	outputs := results[0].Outputs
	names := slices.Sorted(maps.Keys(outputs))
	if i := slices.Index(names, "out"); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, "out")
	}
	for _, name := range names {
		p, err := store.ParsePath(strings.TrimPrefix(outputs[name], store.Dir+"/"))
		if err != nil {
			return Built{}, fmt.Errorf("output %.100q: %w", name, err)
		}
		r.Outputs = append(r.Outputs, p)
		if len(about.OutputsToInstall) > 0 && name == about.OutputsToInstall[0] {
			r.Main = p
		}
	}
	return r, nil
}
