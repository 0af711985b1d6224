// Package manifest is the bridge from Nix to OCI: it returns the manifest of an image for a name, and a document or blob for a
// digest.
//
// It owns [Source], which makes images on request, records them, and keeps their store paths from the garbage collector. It owns
// the referrers of images, such as bills of materials, too. Its subpackages own the names (catalog), the division of a closure into
// layers (draft), the config and manifest documents (document), and the bytes of layers (layer). The package must not know HTTP, or
// the kind of a store.
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

// Config has the parts of a Source. Stores and Cache must be set.
type Config struct {
	// Stores have the store paths of images, in order of preference.
	Stores []store.Store
	// Channels name paths of the stores, in order of preference, after the stores' own names.
	Channels []store.Channel
	// Architectures are GOARCH values: images by package name are made for these only. Empty means all architectures in the stores.
	Architectures []string
	// Images are files and directories of image files.
	Images []string
	// StoreDirs are the directories of Stores whose files are not in /nix/store. A link of Images into such a directory is a link
	// to a store path.
	StoreDirs []string
	// Root has the files that images by package name have in their root file system beside the packages; empty means none.
	Root []imagefile.RootPart
	// Layering divides the store paths of images by package name into layers: imagefile.Auto or imagefile.Shared, which is the default.
	Layering imagefile.Layering
	// Files are absolute names of files outside of the stores: the files that Pull returned in an earlier process. Images of that
	// process may be made from them. The files in Images need not be listed here.
	Files []string
	// Pull fetches a base image that a definition names by docker://HOST/REPO@DIGEST, for one platform, as a docker-archive. It
	// returns the absolute name of the file. It is called for each image that is made, and must be quick if it has the file. nil
	// refuses such images.
	Pull func(ctx context.Context, name string, platform v1.Platform) (file string, err error)
	// Builder builds packages that no store has; nil: nothing is built.
	Builder catalog.Builder
	// Holder keeps the store paths of served images from the garbage collector; nil: they are not kept.
	Holder catalog.Holder
	// Cache keeps the digests of layers and images, and other records.
	Cache digests.Cache
	// Log may be nil.
	Log *slog.Logger
	// Warn gets the warnings of [Check], each with its position in a file: mistakes with which the image can be served all the
	// same. It may be nil.
	Warn func(warning error)
	// Encoding is the compression of layers; the zero value is none. Docker's manifests have no zstd: their layers get gzip instead.
	Encoding layer.Encoding
	// Blobs keeps encoded layers; nil makes them anew for each request.
	Blobs *layer.Blobs
	// Workers is the number of layers that are hashed at the same time; 0 means one for each processor.
	Workers int
}

// Request asks for one manifest: exactly one of Tag and Digest is set.
type Request struct {
	Repository string
	Tag        string
	Digest     v1.Hash
	// Accept returns the offer that the client prefers; false if the client accepts none of them.
	Accept func(offers ...types.MediaType) (types.MediaType, bool)
}

// Source makes images on demand. Safe for concurrent use. An error about the request matches io/fs.ErrNotExist, io/fs.ErrInvalid
// or errors.ErrUnsupported. An error that matches store.ErrUnavailable says that a store cannot be asked now, so the answer is
// unknown.
type Source struct {
	publisher
	store     *store.Joint
	catalog   *catalog.Catalog
	answers   answers
	documents lru.Cache[[2]string, servedDocument] // by repository and digest
	searched  lru.Cache[string, string]            // by repository: the state in which it was last searched for an unknown digest
}

// NewSource makes a Source. The caller closes it. If a definition file has mistakes, NewSource returns an error with all of them,
// one on a line. Mistakes that come into a file later are faults, see [catalog.Catalog.Faults].
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
		Root: cfg.Root, Layering: cfg.Layering, Architectures: cfg.Architectures, Builder: cfg.Builder, Holder: cfg.Holder, Cache: cfg.Cache, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.noteRefused = s.catalog.NoteRefused
	for _, file := range cfg.Files {
		if _, err := host.Add(file); err != nil {
			log.Warn("file of a base image cannot be used", "file", file, "error", err)
		}
	}
	return s, nil
}

// Close ends all running work and waits until it has ended.
func (s *Source) Close() error {
	s.group.Close()
	return s.store.Close()
}

// Check checks image files, and all image files in directories, as if they were served with cfg. It returns one error with one
// problem on a line, which matches the errors of all problems. It hashes no layer. cfg.Warn gets the warnings.
func Check(ctx context.Context, cfg Config, files ...string) error {
	cfg.Images = nil
	s, err := newSource(cfg)
	if err != nil {
		return err
	}
	problems := s.catalog.Check(ctx, files, cfg.Warn)
	return errors.Join(append(problems, s.Close())...)
}
