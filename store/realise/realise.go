// Package realise lets Nix build and keep store paths: [Builder] builds attributes of a flake or a file, [Roots] holds paths against
// the garbage collector, and [Store] builds paths again that were built once and have gone.
//
// It owns the child processes nix and nix-store (2.8 and newer), which get a list of arguments, never a shell's line. It must not know
// OCI or HTTP, or how paths are read: the inner store does that.
//
//	b, err := realise.New(realise.Options{Installable: "nixpkgs"})
//	defer b.Close()
//	attr, err := b.Find(ctx, "python3packages.requests", system) // python3Packages.requests
//	paths, err := b.Build(ctx, attr, system)
package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

// Options are the arguments of [New]. Exactly one of Installable and File is set.
type Options struct {
	Installable string // a flake reference as nix takes it, without "#": "nixpkgs", "github:NixOS/nixpkgs/nixos-25.05", "./flake"
	File        string // a Nix file whose value is a set, or a function of an argument "system" and defaults

	// Spell returns the spelling of one component of an attribute path in a repository; [strings.ToLower] if nil.
	Spell func(string) string

	Nix        string        // the command; "nix" if empty
	Timeout    time.Duration // of one build, without its wait for a slot; 30 minutes if zero
	Jobs       int           // builds at once, and evaluations at once; 2 if zero
	Waiting    int           // builds that may wait for a slot; 64 if zero
	Memory     int64         // bytes of the evaluator's heap; 4 GiB if zero. Nix bounds the builders.
	Fresh      time.Duration // TTL of names, descriptions and results of builds in memory; 5 minutes if zero
	FailureTTL time.Duration // TTL of failures; 1 minute if zero
	Log        *slog.Logger  // slog.Default() if nil
}

const (
	evalTimeout = 5 * time.Minute
	maxMemory   = 4 << 30
	levelBytes  = 128 << 20 // a set of nixpkgs' size takes 3 MB, and a package set contains itself again and again
	resultBytes = 1 << 20
)

// Builder builds attributes of one installable or file. Safe for concurrent use. The caller of [New] closes it.
type Builder struct {
	o       Options
	source  source
	command command
	group   *flight.Group
	now     func() time.Time
	present func([]store.Path) bool
	every   time.Duration // between two log lines about a running build

	builds, evals *flight.Queue

	levels    *results[*level]
	described *results[Description]
	built     *results[Built]
	foreseen  *results[[]store.Path]
	failed    *results[error]
}

// New checks o and finds the nix command. It evaluates nothing. A local file, flake or command that does not exist gives an error
// matching [fs.ErrNotExist], other mistakes one matching [fs.ErrInvalid].
func New(o Options) (*Builder, error) {
	o.setDefaults()
	src, err := o.source()
	if err != nil {
		return nil, err
	}
	nix, err := exec.LookPath(o.Nix)
	if err != nil {
		return nil, fmt.Errorf("building needs the command %.100q: not found, install Nix: %w", o.Nix, fs.ErrNotExist)
	}
	b := &Builder{
		o:       o,
		source:  src,
		command: command{name: nix, env: environment(os.Environ(), fmt.Sprintf("GC_MAXIMUM_HEAP_SIZE=%d", o.Memory)), grace: grace},
		group:   flight.NewGroup(context.Background()),
		now:     time.Now,
		present: present,
		every:   10 * time.Second,
		builds:  &flight.Queue{Running: o.Jobs, Waiting: o.Waiting, Drop: true},
		evals:   &flight.Queue{Running: o.Jobs, Waiting: o.Waiting, Drop: true},
	}
	b.levels = newResults(b, levelBytes, o.Fresh, (*level).weight)
	b.described = newResults(b, resultBytes, o.Fresh, func(d Description) int64 {
		return int64(len(d.Name) + len(d.Pname) + len(d.Version) + len(d.ImageName) + len(d.ImageTag))
	})
	b.built = newResults(b, resultBytes, o.Fresh, Built.weight)
	b.foreseen = newResults(b, resultBytes, goneTime, weighPaths)
	b.failed = newResults(b, resultBytes, o.FailureTTL, func(err error) int64 { return 2 * int64(len(err.Error())) })
	return b, nil
}

// Close ends the running process groups and waits for them. Later calls of other methods fail.
func (b *Builder) Close() error {
	b.group.Close()
	return nil
}

// Ref is the git reference or revision in the installable, "nixos-25.05"; "" if there is none.
func (b *Builder) Ref() string { return b.source.ref() }

func (o *Options) setDefaults() {
	setDefault(&o.Nix, "nix")
	setDefault(&o.Timeout, 30*time.Minute)
	setDefault(&o.Jobs, 2)
	setDefault(&o.Waiting, 64)
	setDefault(&o.Memory, maxMemory)
	setDefault(&o.Fresh, 5*time.Minute)
	setDefault(&o.FailureTTL, time.Minute)
	if o.Spell == nil {
		o.Spell = strings.ToLower
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (o *Options) source() (source, error) {
	switch {
	case (o.Installable == "") == (o.File == ""):
		return source{}, fmt.Errorf("build: give either an installable or a file: %w", fs.ErrInvalid)
	case o.Jobs < 0 || o.Waiting < 0 || o.Memory < 0 || o.Timeout < 0 || o.Fresh < 0 || o.FailureTTL < 0:
		return source{}, fmt.Errorf("build: a bound is negative: %w", fs.ErrInvalid)
	case o.File != "":
		return fileSource(o.File)
	}
	return flakeSource(o.Installable)
}

// mustExist gives an error of one line for a missing file.
func mustExist(what, name string) error {
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %.200q: does not exist: %w", what, name, fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func absolute(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("build %.200q: %w", name, err)
	}
	return abs, nil
}
