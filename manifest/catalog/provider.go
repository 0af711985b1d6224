package catalog

import (
	"context"
	"log/slog"
	"slices"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
)

// Provider finds images by name. If the provider does not have a name, the error matches [fs.ErrNotExist]. If it has the name,
// but the name cannot be an image, the error matches [fs.ErrInvalid] or errors.ErrUnsupported. Safe for concurrent use.
type Provider interface {
	// Owns reports whether the provider answers for a repository. Then no later provider is asked.
	Owns(ctx context.Context, repository string) (bool, error)
	// Lookup returns one definition for each platform.
	Lookup(ctx context.Context, repository, tag string) ([]*draft.Definition, error)
	// Tags returns the tags of a repository, sorted by bytes.
	Tags(ctx context.Context, repository string) ([]string, error)
	// Newest returns about n tags that together cover the newest images of a repository. With an error that matches
	// [store.ErrUnavailable], Newest may still return tags, but there may be more.
	Newest(ctx context.Context, repository string, n int) ([]string, error)
	// Repositories returns all repositories, sorted by bytes.
	Repositories(ctx context.Context) ([]string, error)
	// State returns a text that stays the same as long as the answers stay the same, once the provider is settled.
	State(ctx context.Context) (string, error)
	// Settled reports whether the last answers belong to the present state. After a change the answers may be older for a while.
	Settled(ctx context.Context) bool
}

// owner returns the first of catalogs that owns a repository.
func owner(ctx context.Context, providers []Provider, repository string) (Provider, error) {
	for _, c := range providers {
		ok, err := c.Owns(ctx, repository)
		if err != nil {
			return nil, err
		}
		if ok {
			return c, nil
		}
	}
	for _, c := range providers {
		if r, ok := c.(refuser); ok {
			if err := r.Refused(ctx, repository); err != nil {
				return nil, err
			}
		}
	}
	return nil, packages.UnknownRepository(repository)
}

// refuser is a provider that knows paths that a store does not serve.
type refuser interface {
	Refused(ctx context.Context, repository string) error
}

// Config is the configuration of a catalog. Builder and Holder may be nil.
type Config struct {
	Env           *draft.Env
	Packages      *packages.Catalog
	Images        []string // files and directories
	StoreDirs     []string // directories with the files of stores, if not /nix/store
	Root          []imagefile.RootPart
	Layering      imagefile.Layering
	Architectures []string
	Builder       Builder
	Holder        Holder
	Cache         kv.Store
	Log           *slog.Logger
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
