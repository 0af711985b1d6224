// Command bench measures how many manifests a second registries give, by tag and by digest, with the same images.
//
// It owns the load, the turns of the contestants, and the table. It starts and stops each contestant: nixreg as it is in the
// source tree, other builds of it (-binary), and crane's registry, which gets copies of the images (-crane). All of them
// listen on the loopback interface. It must know nothing of nixreg's insides.
//
// The store must have the images: conformance/nix/mkstore.sh all makes hello (6 layers) and a conf.json of 97 layers.
//
//	conformance/nix/mkstore.sh all
//	go run ./conformance/bench -images "$(ls /nix/store/*-big-conf.json)" -crane "$(which crane)" hello big-conf
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

type settings struct {
	images      []string
	binaries    []string
	crane       string
	connections int
	duration    time.Duration
	rounds      int
}

func main() {
	s := settings{connections: 64}
	list := func(to *[]string) func(string) error {
		return func(v string) error { *to = append(*to, v); return nil }
	}
	flag.Func("images", "file or directory for nixreg's --images; may be repeated", list(&s.images))
	flag.Func("binary", "another nixreg to compare, NAME=FILE; may be repeated", list(&s.binaries))
	flag.StringVar(&s.crane, "crane", "", "the crane command, whose registry is compared")
	flag.IntVar(&s.connections, "c", s.connections, "connections at once")
	flag.DurationVar(&s.duration, "d", 3*time.Second, "time of each turn")
	flag.IntVar(&s.rounds, "rounds", 3, "turns of each contestant for each row")
	flag.Parse()
	if err := run(context.Background(), s, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, names []string) (err error) {
	if len(names) == 0 {
		return fmt.Errorf("no image is named")
	}
	all, stop, err := startAll(ctx, s, names)
	defer stop()
	if err != nil {
		return err
	}
	fmt.Printf("%-10s %-8s %-12s %12s %10s %12s   (median of %d, %d connections)\n", "image", "by", "registry", "requests/s", "p99", "CPU/request", s.rounds, s.connections)
	for _, name := range names {
		for _, by := range []string{"tag", "digest"} {
			if err := row(ctx, s, all, name, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// row measures one image in all contestants, in turns.
func row(ctx context.Context, s settings, all []*contestant, name, by string) error {
	results := make([][]result, len(all))
	for range s.rounds {
		for i, c := range all {
			ref := "latest"
			if by == "digest" {
				ref = c.digests[name]
			}
			before := c.cpu()
			r, err := load(ctx, c.host, "/v2/"+name+"/manifests/"+ref, s.connections, s.duration)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", c.name, name, err)
			}
			r.cpu = (c.cpu() - before) / time.Duration(r.answers)
			results[i] = append(results[i], r)
		}
	}
	for i, c := range all {
		slices.SortFunc(results[i], func(a, b result) int { return int(a.rate - b.rate) })
		m := results[i][len(results[i])/2]
		fmt.Printf("%-10s %-8s %-12s %12.0f %10s %12s\n", name, by, c.name, m.rate, m.p99.Round(10*time.Microsecond), m.cpu.Round(100*time.Nanosecond))
	}
	return nil
}

// cut is strings.Cut for NAME=FILE.
func cut(s string) (name, file string, err error) {
	name, file, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("-binary %q: want NAME=FILE", s)
	}
	return name, file, nil
}
