package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Definition says what one image, for one platform, is made of. Equal definitions and equal store contents give equal
// images, whatever name they were asked for by.
type Definition struct {
	Title, Version string
	// Contents are linked into the image's root, in order; Program names the one of bin/ that it runs, if it is there.
	Contents []store.Path
	Program  string
	// Args, if set, is the rest of what a definition file says; without them it is the image of a package.
	Args *dockertools.Args
	// archFound is set where the architecture in Args is that of the programs, not one that the file gives.
	ArchFound bool
	// Root is what the layer of the root file system has; none, if it is empty.
	Root []imagefile.RootPart
	// At is where the definition stands, for messages alone: "" for a package's.
	At imagefile.Position
	// unknownKeys are where the keys of its config stand that no client knows.
	unknownKeys map[string]imagefile.Position
	// Conf, if set, is an image whose layers are fixed, and Source the bytes it was read from.
	Conf   *dockertools.Conf
	Source []byte
	// Ready, if set, is an image that was made elsewhere; Source tells it apart from others.
	Ready *finished.Image
	// moving is set where something else than the state of catalogs and stores may change what the name means: a builder,
	// whose source moves.
	Moving bool
	// origin, if set, is the store path that Conf was read from, or of the script that told where it is.
	Origin store.Path
}

// OfFile reports whether a file describes the image: what is wrong with it may quote that.
func (d *Definition) OfFile() bool { return d.Args != nil || d.Conf != nil || d.Ready != nil }

// Key tells definitions apart.
func (d *Definition) Key() string {
	b, err := json.Marshal(struct {
		Title, Version, Program string
		Contents                []store.Path
		Source                  []byte
		Args                    *dockertools.Args    `json:",omitempty"` // what came later must not change older keys
		Root                    []imagefile.RootPart `json:",omitempty"`
	}{d.Title, d.Version, d.Program, d.Contents, d.Source, d.Args, d.Root})
	if err != nil {
		panic("catalog: definition cannot be encoded: " + err.Error()) // strings, bytes and JSON that was parsed always can
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Provider knows images by name. A name it does not have gives an error matching [fs.ErrNotExist]; one that it has, but
// that cannot be an image, [fs.ErrInvalid] or errors.ErrUnsupported. Safe for concurrent use.
type Provider interface {
	// Owns reports whether the catalog answers for a repository: then no later catalog is asked.
	Owns(ctx context.Context, repository string) (bool, error)
	// Lookup returns one definition for each platform.
	Lookup(ctx context.Context, repository, tag string) ([]*Definition, error)
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
