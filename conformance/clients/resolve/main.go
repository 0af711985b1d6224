// Resolve pulls an image with containerd's own resolver, as ctr and the CRI plugin do, and with containerd's own limit on
// the time without an answer. It is a module of its own, so that containerd's dependencies stay out of nixreg's.
//
//	resolve [-hosts-dir DIR] [-header-timeout TIME] IMAGE    prints the digest of each thing that it fetched
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := flag.String("hosts-dir", "", "directory with a hosts.toml for each image host, as config_path names it")
	limit := flag.Duration("header-timeout", 0, "time without an answer, in place of containerd's own")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := pull(ctx, resolver(ctx, *dir, *limit), flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func resolver(ctx context.Context, dir string, limit time.Duration) remotes.Resolver {
	o := config.HostOptions{UpdateClient: func(c *http.Client) error {
		t, ok := c.Transport.(*http.Transport)
		if !ok {
			return fmt.Errorf("the transport is a %T", c.Transport)
		}
		if limit > 0 {
			t.ResponseHeaderTimeout = limit
		}
		fmt.Fprintln(os.Stderr, "an answer must begin in", t.ResponseHeaderTimeout)
		return nil
	}}
	if dir != "" {
		o.HostDir = config.HostDirFromRoot(dir)
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, o)})
}

// pull fetches what an image's name stands for, and all that it is made of.
func pull(ctx context.Context, r remotes.Resolver, image string) error {
	name, top, err := r.Resolve(ctx, image)
	if err != nil {
		return fmt.Errorf("resolve: %w", err)
	}
	from, err := r.Fetcher(ctx, name)
	if err != nil {
		return err
	}
	return walk(ctx, from, top)
}

// walk fetches a descriptor and its children, and prints the digest of each.
func walk(ctx context.Context, from remotes.Fetcher, d ocispec.Descriptor) error {
	data, err := fetch(ctx, from, d)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", d.Digest, err)
	}
	fmt.Println(d.Digest)
	var children struct {
		Manifests []ocispec.Descriptor
		Config    *ocispec.Descriptor
		Layers    []ocispec.Descriptor
	}
	if json.Unmarshal(data, &children) != nil {
		return nil // a layer
	}
	all := append(children.Manifests, children.Layers...)
	if children.Config != nil && children.Config.Digest != "" { // a configuration has a config, too
		all = append(all, *children.Config)
	}
	for _, c := range all {
		if err := walk(ctx, from, c); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, from remotes.Fetcher, d ocispec.Descriptor) ([]byte, error) {
	body, err := from.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); got != d.Digest {
		return nil, fmt.Errorf("the bytes have %s", got)
	}
	return data, nil
}
