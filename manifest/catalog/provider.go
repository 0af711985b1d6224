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

// Provider knows images by name. A name it does not have gives an error matching [fs.ErrNotExist]; one that it has, but
// that cannot be an image, [fs.ErrInvalid] or errors.ErrUnsupported. Safe for concurrent use.
type Provider interface {
	// Owns reports whether the catalog answers for a repository: then no later catalog is asked.
	Owns(ctx context.Context, repository string) (bool, error)
	// Lookup returns one definition for each platform.
	Lookup(ctx context.Context, repository, tag string) ([]*draft.Definition, error)
	// Tags returns the tags of a repository, sorted by bytes.
	Tags(ctx context.Context, repository string) ([]string, error)
	// Newest returns tags, about n, that together cover the newest images of a repository. An error matching
	// [store.ErrUnavailable] may come with tags: there may be others.
	Newest(ctx context.Context, repository string, n int) ([]string, error)
	// Repositories returns all repositories, sorted by bytes.
	Repositories(ctx context.Context) ([]string, error)
	// State stays the same as long as the answers do, once they are settled.
	State(ctx context.Context) (string, error)
	// Settled reports whether the last answers were those of the present state. They may be older for a while.
	Settled(ctx context.Context) bool
}

// owner returns the first of catalogs that owns a repository.
func owner(ctx context.Context, catalogs []Provider, repository string) (Provider, error) {
	for _, c := range catalogs {
		ok, err := c.Owns(ctx, repository)
		if err != nil {
			return nil, err
		}
		if ok {
			return c, nil
		}
	}
	for _, c := range catalogs {
		if r, ok := c.(refuser); ok {
			if err := r.Refused(ctx, repository); err != nil {
				return nil, err
			}
		}
	}
	return nil, packages.UnknownRepository(repository)
}

// refuser is a catalog that knows of paths that a store does not serve.
type refuser interface {
	Refused(ctx context.Context, repository string) error
}

// Config is what a catalogue needs. Builder and Holder may be nil.
type Config struct {
	Env           *draft.Env
	Packages      *packages.Catalog
	Images        []string // files and directories
	StoreDirs     []string // where the files of stores are, if not in /nix/store
	Root          []imagefile.RootPart
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
