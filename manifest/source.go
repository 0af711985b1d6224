// Package manifest is the bridge from Nix to OCI: it turns a name into the manifest of an image, and a digest into the
// bytes behind it.
//
// It owns what images are made of ([Definition], [Provider]), the division of a closure into layers ([Plan]), the image's
// config and manifest documents, and [Source], which makes images when they are asked for and remembers them. It knows
// nothing of HTTP, nor which kind of store it has.
//
//	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Cache: cache})
//	defer src.Close()
//	desc, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: …})
package manifest

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/hostfile"
)

// Config is what a Source needs. Store and Cache must be set.
type Config struct {
	// Stores are where images come from, in order of preference.
	Stores []store.Store
	// Channels name paths of the stores, in order of preference, after the stores' own names.
	Channels []store.Channel
	// Architectures are those, in GOARCH's words, that images by package name are made for; none: all there are.
	Architectures []string
	// Images are files and directories of image files.
	Images []string
	// StoreDirs are where the files of Stores lie, where that is not /nix/store: what Images link to there is in the store.
	StoreDirs []string
	// Root is what the root file system of images by package name has beside their contents; nothing, unless asked for.
	Root []imagefile.RootPart
	// Files are absolute names of files outside of the stores that images of an earlier process may be made from, beside
	// those in Images: what Pull returned then.
	Files []string
	// Pull fetches a base image that definitions name by docker://HOST/REPO@DIGEST, for one platform, as a docker-archive,
	// and returns the absolute name of the file. It is asked for each image that is made, and must be quick if it has the
	// file. nil refuses such images.
	Pull func(ctx context.Context, name string, platform v1.Platform) (file string, err error)
	// Builder builds what no store has; nil: nothing is built.
	Builder catalog.Builder
	// Holder keeps what is served from being deleted; nil: nothing does.
	Holder catalog.Holder
	// Cache remembers digests.
	Cache digests.Cache
	// Log may be nil.
	Log *slog.Logger
	// Warn gets from [Check] what an image can be served with, but was hardly meant, with its place; it may be nil.
	Warn func(warning error)
	// Encoding is how layers are compressed; the zero value is not at all. Docker's manifests know no zstd: they get gzip.
	Encoding layer.Encoding
	// Blobs keeps encoded layers; nil makes them anew for each request.
	Blobs *layer.Blobs
	// Workers is how many layers are hashed at the same time; 0 is one for each processor.
	Workers int
}

// Request asks for one manifest: exactly one of Tag and Digest is set.
type Request struct {
	Repository string
	Tag        string
	Digest     v1.Hash
	// Accept returns the one of offers that the client likes best; false if it takes none.
	Accept func(offers ...types.MediaType) (types.MediaType, bool)
}

// Source makes images on demand. Safe for concurrent use. Errors about what was asked for match io/fs.ErrNotExist,
// io/fs.ErrInvalid or errors.ErrUnsupported. One that matches store.ErrUnavailable tells that nobody knows now.
type Source struct {
	publisher
	store     *store.Joint
	catalog   *catalog.Catalog
	answers   answers
	documents lru.Cache[[2]string, servedDocument] // by repository and digest
	searched  lru.Cache[string, string]            // in which state a repository was last searched for an unknown digest
}

// NewSource makes a Source. The caller closes it. A definition file with mistakes is an error that has all of them, one a
// line; later it is a fault, see [Source.Faults].
func NewSource(cfg Config) (*Source, error) {
	s, err := newSource(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.catalog.Load(context.Background()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newSource(cfg Config) (*Source, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	workers := cfg.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	host := new(hostfile.Store)
	all := store.Union(append(slices.Clone(cfg.Stores), host)...)
	group := flight.NewGroup(context.Background())
	byName := packages.New(packages.Config{
		All: all, Stores: cfg.Stores, Channels: cfg.Channels, Architectures: cfg.Architectures, Group: group, Cache: cfg.Cache, Log: log,
	})
	s := &Source{store: all}
	s.answers.Max, s.documents.Max, s.held.Max = answersWeight, documentsWeight, heldWeight
	s.searched.Max, s.searched.TTL = searchedBytes, searchAgain
	s.log, s.records, s.holder = log, records{cfg.Cache}, cfg.Holder
	s.encoding, s.attachers, s.group, s.building = cfg.Encoding, attachers, group, &flight.Queue{Running: maxBuilding}
	layers := &layer.Maker{
		Store: all, Cache: cfg.Cache, Group: group,
		Mutable:  host.Holds,
		Scanning: &flight.Queue{Running: workers},
		Hashing:  &flight.Queue{Running: workers},
		Progress: func(n int64) { s.hashed.Add(n) },
		Blobs:    cfg.Blobs,
		Uncached: &flight.Queue{Running: 4 * workers},
	}
	s.env = &draft.Env{Store: all, Host: host, Layers: layers, Pull: cfg.Pull}
	var err error
	s.catalog, err = catalog.New(catalog.Config{
		Env: s.env, Packages: byName, Images: cfg.Images, StoreDirs: cfg.StoreDirs,
		Root: cfg.Root, Architectures: cfg.Architectures, Builder: cfg.Builder, Holder: cfg.Holder, Cache: cfg.Cache, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, file := range cfg.Files {
		if _, err := host.Add(file); err != nil {
			log.Warn("file of a base image cannot be used", "file", file, "error", err)
		}
	}
	return s, nil
}

// Close ends what is being computed and waits for it.
func (s *Source) Close() error {
	s.group.Close()
	return s.store.Close()
}

// Check returns the problems of image files and of all files in directories, as if they were served with cfg: as one error,
// one problem a line. The error matches the errors of all problems. Nothing is hashed. cfg.Warn gets the warnings.
func Check(ctx context.Context, cfg Config, files ...string) error {
	cfg.Images = nil
	s, err := newSource(cfg)
	if err != nil {
		return err
	}
	problems := s.catalog.Check(ctx, files, cfg.Warn)
	return errors.Join(append(problems, s.Close())...)
}
