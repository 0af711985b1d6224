package realise

import (
	"context"
	"slices"
	"time"

	"github.com/nixreg/nixreg/store"
)

// SetClock replaces the clock.
func (b *Builder) SetClock(now func() time.Time) { b.now = now }

// SetClock replaces the clock.
func (r *Roots) SetClock(now func() time.Time) { r.now = now }

// SetThere replaces the look at the store.
func (r *Roots) SetThere(paths ...store.Path) {
	r.there = func(p store.Path) bool { return slices.Contains(paths, p) }
}

// SetPresent replaces the look at the store.
func (b *Builder) SetPresent(present bool) { b.present = func([]store.Path) bool { return present } }

// SetGrace replaces the time between SIGTERM and SIGKILL.
func (b *Builder) SetGrace(d time.Duration) { b.command.grace = d }

// SetEvery replaces the time between two lines about a build.
func (b *Builder) SetEvery(d time.Duration) { b.every = d }

// Report is what a running build logs at each tick.
func (b *Builder) Report(over <-chan struct{}, ticks <-chan time.Time, what, stderr string) {
	t := new(tail)
	_, _ = t.Write([]byte(stderr))
	b.report(over, ticks, what, t)
}

// Tail is what is kept of stderr.
func Tail(count, size int, writes ...string) []string {
	t := new(tail)
	for _, w := range writes {
		_, _ = t.Write([]byte(w))
	}
	return t.lines(count, size)
}

// BuildFunc is a builder for [NewStoreOf].
type BuildFunc func(ctx context.Context, attr Attr, system string) ([]store.Path, error)

func (f BuildFunc) build(ctx context.Context, attr Attr, system string, again bool) (Built, error) {
	if !again {
		panic("what has gone must not be taken from memory")
	}
	outputs, err := f(ctx, attr, system)
	return Built{Outputs: outputs}, err
}

// outputs gives none: nobody knows them before they are built.
func (f BuildFunc) outputs(context.Context, Attr, string) ([]store.Path, error) { return nil, nil }

// SetOutputs replaces what a build would give.
func (s *Store) SetOutputs(o func() ([]store.Path, error)) {
	s.builder = foreseer{s.builder, o}
}

type foreseer struct {
	rebuilder
	o func() ([]store.Path, error)
}

func (f foreseer) outputs(context.Context, Attr, string) ([]store.Path, error) { return f.o() }

// Outputs is what a build would give.
func (b *Builder) Outputs(ctx context.Context, attr Attr, system string) ([]store.Path, error) {
	return b.outputs(ctx, attr, system)
}

// NewStoreOf is NewStore with a builder that is none, and a clock.
func NewStoreOf(inner store.Store, b BuildFunc, r Records, now func() time.Time) *Store {
	s := NewStore(inner, nil, r)
	s.builder, s.now = b, now
	return s
}

var (
	CleanLine    = cleanLine
	ParseBuilt   = parseBuilt
	ParseNames   = parseNames
	ParseOutputs = parseOutputs
	Environment  = environment
	Gone         = gone
	EndOf        = endOf
)

const (
	MaxTail  = maxTail
	MaxBatch = maxBatch
)
