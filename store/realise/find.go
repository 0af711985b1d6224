package realise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// refresh is the age after which a level of a local source is evaluated again if it does not have a name, because users edit the
// file and ask again at once.
const refresh = 10 * time.Second

// Find returns the attribute path for a name in a repository: it looks for each component, spelled by [Options.Spell], among the names
// of its set. Of several, it takes the one with the same spelling, or the first in byte order, and logs that. system is [Host] if
// empty. The attribute exists, but may be no package; Build reports that. Errors match [fs.ErrNotExist] or [ErrBusy], or are a
// [BuildError] or the error of ctx.
func (b *Builder) Find(ctx context.Context, name, system string) (Attr, error) {
	if system == "" {
		system = Host()
	}
	if err := checkSystem(system); err != nil {
		return "", err
	}
	if len(name) > maxAttr || strings.Count(name, ".") >= maxComponents {
		return "", fmt.Errorf("attribute %.100q: too long: %w", name, fs.ErrNotExist)
	}
	return seek(b, func(since time.Time) (Attr, error) { return b.find(ctx, name, system, since) })
}

// seek calls look for cached levels and, for a local source, a second time for newer ones.
func seek[T any](b *Builder, look func(since time.Time) (T, error)) (T, error) {
	now := b.now()
	v, err := look(now.Add(-b.o.Fresh))
	if errors.Is(err, fs.ErrNotExist) && b.source.local() && b.o.Fresh > refresh {
		return look(now.Add(-refresh))
	}
	return v, err
}

func (b *Builder) find(ctx context.Context, name, system string, since time.Time) (Attr, error) {
	for _, root := range b.source.roots(system) {
		path, _, err := b.descend(ctx, root, name, system, since, b.pick)
		if err != nil {
			return "", err
		}
		if path != "" {
			return ParseAttr(path)
		}
	}
	return "", fmt.Errorf("attribute %.100q for %s: %w", name, system, fs.ErrNotExist)
}

// locate returns the full path of attr below one of the source's roots. nix would look only below the roots of the host's system.
func (b *Builder) locate(ctx context.Context, attr Attr, system string) (string, error) {
	if b.source.file != "" {
		return string(attr), nil
	}
	return seek(b, func(since time.Time) (string, error) {
		for _, root := range b.source.roots(system) {
			_, full, err := b.descend(ctx, root, string(attr), system, since, exactly)
			if err != nil || full != "" {
				return full, err
			}
		}
		return "", fmt.Errorf("attribute %s for %s: %w", attr, system, fs.ErrNotExist)
	})
}

// descend follows the components of name from root. choose picks the attribute of a level for a component. It returns the path without
// root and with it; "" if there is none.
func (b *Builder) descend(ctx context.Context, root, name, system string, since time.Time, choose func(*level, string) string) (path, full string, err error) {
	full = root
	for c := range strings.SplitSeq(name, ".") {
		l, err := b.level(ctx, full, system, since)
		if err != nil {
			return "", "", err
		}
		next := choose(l, c)
		if next == "" {
			return "", "", nil
		}
		path, full = join(path, next), join(full, next)
	}
	return path, full, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// level has the names of one set.
type level struct {
	names   []string            // sorted
	spelled map[string][]string // names by their spelling in a repository
	logged  sync.Map            // spellings whose ambiguity was logged
	made    time.Time
}

// weight counts each name twice, in both fields.
func (l *level) weight() (n int64) {
	for _, name := range l.names {
		n += 2*int64(len(name)) + 100
	}
	return n
}

func exactly(l *level, c string) string {
	if _, ok := slices.BinarySearch(l.names, c); ok {
		return c
	}
	return ""
}

func (b *Builder) pick(l *level, c string) string {
	spelled := b.o.Spell(c)
	names := l.spelled[spelled]
	if len(names) == 0 || spelled == "" {
		return ""
	}
	taken := names[0]
	if slices.Contains(names, c) {
		taken = c
	}
	if _, logged := l.logged.LoadOrStore(spelled, true); len(names) > 1 && !logged {
		b.o.Log.Info("attributes share a name", "name", c, "taken", taken, "among", len(names))
	}
	return taken
}

// level returns the names of the set full, not evaluated before since. A set that does not exist is empty.
func (b *Builder) level(ctx context.Context, full, system string, since time.Time) (*level, error) {
	good := func(l *level) bool { return !l.made.Before(since) }
	return cached(ctx, b, b.levels, "names "+full+" "+system, good, func(ctx context.Context) (*level, error) {
		return b.load(ctx, full, system)
	})
}

// attrNames returns the names of a set, or none. If the file is a function, it is called, as nix does.
const attrNames = `v: let s = if %t && builtins.isFunction v ` +
	`then v (builtins.intersectAttrs (builtins.functionArgs v) { system = "%s"; }) else v; ` +
	`in if builtins.isAttrs s then builtins.attrNames s else [ ]`

func (b *Builder) load(ctx context.Context, full, system string) (*level, error) {
	what := "look for attributes in " + orSource(full)
	out, err := b.evaluate(ctx, what, full, system, fmt.Sprintf(attrNames, full == "", system))
	if errors.Is(err, fs.ErrNotExist) {
		return &level{made: b.now()}, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := parseNames(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	l := &level{names: names, spelled: make(map[string][]string, len(names)), made: b.now()}
	for _, n := range names {
		s := b.o.Spell(n)
		l.spelled[s] = append(l.spelled[s], n)
	}
	return l, nil
}

func orSource(full string) string {
	if full == "" {
		return "the file"
	}
	return full
}

// parseNames parses a JSON list of names and returns, sorted, those that can be in an attribute path.
func parseNames(out []byte) ([]string, error) {
	var names []string
	if err := json.Unmarshal(out, &names); err != nil {
		return nil, fmt.Errorf("nix's list of names: %w: %w", err, fs.ErrInvalid)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return len(n) > maxAttr || !identifier(n) })
	slices.Sort(names)
	return slices.Compact(names), nil
}
