package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/realise"
)

// openBuilds opens what builds, and what holds, in the local store, which is one of stores; the one it returns in its
// place builds again what has gone.
func (p *parts) openBuilds(c *config, stores []store.Store, in places, log *slog.Logger) ([]store.Store, error) {
	at := slices.IndexFunc(stores, func(s store.Store) bool { return p.local != nil && s == p.local })
	if c.buildSource() != "" && at < 0 {
		return nil, fmt.Errorf("build %.200s: Nix builds into this machine's own store, and %s", c.buildSource(), whyNoLocal())
	}
	if at < 0 {
		return stores, nil // Nix holds nothing that lies elsewhere
	}
	all := slices.Clone(stores)
	if c.buildSource() != "" {
		b, err := realise.New(realise.Options{
			Installable: c.build, File: c.buildFile, Spell: packages.RepositoryName,
			Timeout: c.buildTimeout, Jobs: c.buildJobs, Memory: c.buildMemory, Log: log,
		})
		if err != nil {
			return nil, err
		}
		p.closes = append(p.closes, b.Close)
		again := realise.NewStore(p.local, b, p.cache)
		p.builder, p.builds = &builder{builder: b, built: again, log: log, noted: lru.Cache[string, string]{Max: notedBytes}}, c.buildSource()
		all[at] = again
	}
	return all, p.openRoots(all, in, log)
}

func whyNoLocal() string {
	if local.Exists() {
		return "that is not among the stores: add --store local"
	}
	return "there is none"
}

// openRoots opens what holds. Only a server lets go again of what it holds; of others nothing is left.
func (p *parts) openRoots(all []store.Store, in places, log *slog.Logger) error {
	if in.keep == 0 {
		log = slog.New(slog.DiscardHandler) // that nothing holds is no news to who waits for a command
	}
	r, err := realise.NewRoots(realise.RootsOptions{Dir: in.roots, Keep: in.keep, Log: log})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var sweeping sync.WaitGroup
	if in.keep > 0 {
		sweeping.Go(func() { r.Run(ctx) })
	}
	joint := store.Union(all...)
	p.closes = append(p.closes, joint.Close, func() error {
		stop()
		sweeping.Wait()
		return r.Close()
	})
	p.holder = realise.NewHolder(r, p.local, joint)
	return nil
}

// builder is a realise.Builder as manifest wants it: the two packages share no types of their own.
type builder struct {
	builder *realise.Builder
	built   *realise.Store
	log     *slog.Logger

	noted lru.Cache[string, string] // the paths by attribute and system of which it is recorded how they are built again
}

var _ manifest.Builder = (*builder)(nil)

func (b *builder) Find(ctx context.Context, name string) (string, error) {
	attr, err := b.builder.Find(ctx, name, "")
	return string(attr), err
}

func (b *builder) Build(ctx context.Context, attr, arch string) ([]store.Path, error) {
	a, err := realise.ParseAttr(attr)
	if err != nil {
		return nil, err
	}
	system := realise.Host()
	if arch != "" {
		system = realise.System(arch)
	}
	if system == "" {
		return nil, fmt.Errorf("build %s for %.100q: Nix has no such system: %w", a, arch, errors.ErrUnsupported)
	}
	paths, err := b.builder.Build(ctx, a, system)
	if err != nil {
		return nil, err
	}
	if err := b.note(ctx, a, system, paths); err != nil && ctx.Err() == nil {
		b.log.Warn("what was built is not built again if it goes", "attribute", attr, "error", err)
	}
	return paths, nil
}

func (b *builder) Ref() string { return b.builder.Ref() }

// notedBytes bounds the attributes that are remembered as noted; beyond that some are noted twice.
const notedBytes = 1 << 20

// note writes down, once for what was built, how its closure comes back.
func (b *builder) note(ctx context.Context, attr realise.Attr, system string, paths []store.Path) error {
	key, value := string(attr)+" "+system, fmt.Sprint(paths)
	if noted, ok := b.noted.Get(key); ok && noted == value {
		return nil
	}
	objects, err := store.Closure(ctx, b.built.Store, paths...)
	if err != nil {
		return err
	}
	if err := b.built.Remember(ctx, attr, system, paths, objects); err != nil {
		return err
	}
	b.noted.Put(key, value, int64(len(key)+len(value)))
	return nil
}

// answerOfBuild is what clients get for an error of a build, nil if err is none.
func answerOfBuild(err error) error {
	if b := (*realise.BuildError)(nil); errors.As(err, &b) {
		return newFailedBuild(b, cmp.Or(publicText(err), b.What))
	}
	if errors.Is(err, realise.ErrBusy) {
		return &registry.StatusError{Status: http.StatusTooManyRequests, RetryAfter: whenBusy, Err: err}
	}
	return nil
}

// whenBusy is after what time it is worth asking again for a build, where too many wait.
const whenBusy = 30 * time.Second

// failedBuild tells a client why there is no image. To nixreg it is one that cannot be made, not a fault: clients show the
// text of such an answer (404) alone, and do not try again at once.
//
// Source: distribution, registry/client/errors, HandleErrorResponse, which Docker has too.
type failedBuild struct{ text string }

// clientLines is how many bytes of what Nix wrote go to a client, whose message is cut at its end otherwise.
const clientLines = 700

// newFailedBuild tells what Nix wrote, without what it quotes of the files that it evaluates. what is what was built: for a
// definition no more than where it stands.
func newFailedBuild(err *realise.BuildError, what string) *failedBuild {
	shown := slices.DeleteFunc(slices.Clone(err.Lines), quotesFile)
	for i, line := range shown {
		shown[i] = withoutValues(line)
	}
	lines := strings.Join(shown, " | ")
	if over := len(lines) - clientLines; over > 0 {
		lines = "…" + strings.ToValidUTF8(lines[over:], "")
	}
	if lines == "" {
		lines = err.Err.Error()
	}
	return &failedBuild{what + ": nix: " + lines}
}

// quotesFile reports whether a line of Nix's shows a line of a file, or a value, or where that is: "3|  x = y;", "3 | x = y", "|  ^",
// "--> fromTOML", "at /x.nix:3:5:", "trace: value".
//
// Source: Nix, libutil/error.cc, printCodeLines; toml11, format_underline; Nix, libexpr/primops.cc, prim_trace.
func quotesFile(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(strings.TrimLeft(line, "0123456789 "), "|") || strings.HasPrefix(line, "at ") && strings.HasSuffix(line, ":") ||
		strings.HasPrefix(line, "-->") || strings.HasPrefix(line, "trace:")
}

var (
	builderLine = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._?=-]*> `)
	quotedValue = regexp.MustCompile(`"[^"]*("|$)`)
	quotedName  = regexp.MustCompile(`'[^']*('|$)`)
	plainName   = regexp.MustCompile(`^'[A-Za-z0-9_.+/-]*'$`)
)

// withoutValues takes out of a message of Nix what it quotes: values, which may come from a file, and names that are none of an
// attribute, a path or a derivation. What a builder says stays as it is.
func withoutValues(line string) string {
	if builderLine.MatchString(line) {
		return line
	}
	line = quotedValue.ReplaceAllString(line, `"…"`)
	return quotedName.ReplaceAllStringFunc(line, func(name string) string {
		if plainName.MatchString(name) {
			return name
		}
		return "'…'"
	})
}

func (e *failedBuild) Error() string        { return e.text }
func (e *failedBuild) Public() string       { return e.text }
func (e *failedBuild) Is(target error) bool { return target == fs.ErrInvalid }
